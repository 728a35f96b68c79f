/** Bodies in the three forms that the host takes: JSON, a form, and a form in parts, which may bring a file. */
import { parse } from 'node:querystring';
import { fastifyFormbody } from '@fastify/formbody';
import { fastifyMultipart } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { Failure } from '../../core/failure.ts';
import type { App } from '../app.ts';
import { untold } from '../archive-body.ts';
import { type AuthOptions, stillEntitled } from '../auth.ts';
import { readJson } from '../json.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The most that a file in the part "file" may have, in bytes; without it, no file may be sent. */
    fileBytes?: number;
  }
  interface FastifyRequest {
    upload: Upload | null;
  }
}

/** A file that was sent. The name has no folder in it; nothing else was made sure of. */
export type Upload = { name: string; bytes: Buffer };

/** Of a form, in parts or not. The host's own have three fields at most. */
const FIELDS_MOST = 32;
const FIELD_BYTES = 262_144;
const FORM_BYTES = 1_048_576;
const NAME_BYTES = 200;
/** What stands around a file and beside it. */
export const AROUND_FILE_BYTES = FORM_BYTES;

export async function takeBodies(scope: App, rights: AuthOptions): Promise<void> {
  scope.removeAllContentTypeParsers();
  scope.decorateRequest('upload', null);
  scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    let value: unknown;
    try {
      value = body.length === 0 ? undefined : readJson(body as Buffer);
    } catch (error) {
      return done(new Failure('invalid_request', `JSON parse error - ${(error as Failure).message}`));
    }
    done(null, value);
  });
  await scope.register(fastifyFormbody, { bodyLimit: FORM_BYTES, parser: readForm });
  await scope.register(fastifyMultipart, { throwFileSizeLimit: false });
  scope.addHook('onRequest', (request, reply, done) => {
    const { 'content-length': told, 'content-type': type } = request.headers;
    const most = request.routeOptions.bodyLimit ?? FORM_BYTES;
    if (!/^multipart\//i.test(type ?? '') || !(Number(told) > most)) return done();
    // Of what nobody will read, nothing must hold up the next request.
    reply.header('connection', 'close');
    done(tooLarge(`The body is larger than ${most} bytes`));
  });
  scope.addHook('preValidation', async (request) => {
    if (!request.isMultipart()) return;
    request.body = await readParts(request, request.routeOptions.config.fileBytes);
    // It may have taken a minute.
    await stillEntitled(request, rights);
  });
}

/** What a body names; nothing where it is something else than names with values. */
export function fieldsIn({ body }: FastifyRequest): Readonly<Record<string, unknown>> {
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Record<string, unknown>) : {};
}

/** Of fields that are there more than once, the last counts. */
function readForm(text: string): Record<string, unknown> {
  const fields = parse(text, '&', '=', { maxKeys: FIELDS_MOST });
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, [value].flat().at(-1)]));
}

async function readParts(request: FastifyRequest, fileBytes: number | undefined): Promise<Record<string, unknown>> {
  const fields = new Map<string, unknown>();
  const most = fileBytes ?? 0;
  const limits = {
    fieldNameSize: NAME_BYTES,
    fieldSize: FIELD_BYTES,
    fields: FIELDS_MOST,
    files: fileBytes === undefined ? 0 : 1,
    // One more than is taken, so that it is known to be too large.
    fileSize: most + 1,
    headerPairs: 20,
    parts: FIELDS_MOST + 1,
  };
  try {
    for await (const part of request.parts({ limits })) {
      if (part.type === 'field') {
        if (part.valueTruncated) throw tooLarge(`A field is larger than ${FIELD_BYTES} bytes`);
        // A part that says it is JSON was parsed, however deep it is.
        if (typeof part.value !== 'string') throw new Failure('invalid_request', 'A field is no text');
        fields.set(part.fieldname, part.value);
      } else if (part.fieldname === 'file' && request.upload === null) {
        request.upload = { name: part.filename, bytes: await untold(part.file, most) };
      } else part.file.resume();
    }
  } catch (error) {
    // Nobody reads the rest; the socket stays, as there is something to say.
    request.raw.unpipe();
    request.raw.resume();
    // What the parser says of its own limits has a status, and what it says of the text has none.
    if (error instanceof Failure || (error as { statusCode?: number }).statusCode !== undefined) throw error;
    throw new Failure('invalid_request', `Multipart form parse error - ${(error as Error).message}`);
  }
  return Object.fromEntries(fields);
}

function tooLarge(words: string): Failure {
  return new Failure('payload_too_large', words);
}
