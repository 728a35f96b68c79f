/**
 * CloudEvents 1.0 (https://github.com/cloudevents/spec): the structured form, which is one JSON document, and the binary
 * one, whose attributes are headers and whose data is the body.
 */
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { type Static, type TSchema, type TString, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { STASH_TRIGGERS } from '../core/hook.ts';
import type { Idempotency } from './idempotency.ts';

export const CLOUD_EVENT = 'application/cloudevents+json';

const VERSION = '1.0';
/** Attributes are short words: https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#size-limits */
const LETTERS_MOST = 2_000;

const Text = (description: string) => Type.String({ minLength: 1, maxLength: LETTERS_MOST, description });

/** `type` and `data` are the schemas of what is ours in it. Attributes that we do not know are extensions. */
export function CloudEventBody<Data extends TSchema>(type: TString, data: Data) {
  return Type.Object(
    {
      specversion: Type.Enum([VERSION]),
      id: Text('Of the event; with `source` it tells whether it was delivered before'),
      source: Text('Who sends it'),
      type,
      subject: Type.Optional(Text('The number of the object, where `data.id` does not say it')),
      datacontenttype: Type.Optional(Type.String({ pattern: JSON_TYPE.source, description: 'JSON' })),
      data: Type.Optional(data),
      // Said here so that it is refused: data that is no JSON tells nothing.
      data_base64: Type.Optional(Type.Null()),
    },
    { additionalProperties: true, description: 'A CloudEvent in the structured form' },
  );
}

const JSON_TYPE = /^[a-z]+\/([A-Za-z0-9.-]+\+)?json *(;.*)?$/;

export type CloudEvent<Data> = Omit<Static<ReturnType<typeof CloudEventBody<TSchema>>>, 'data'> & {
  data?: Data | undefined;
};

/** The attributes that are headers; null where there are none, so that the body is the whole. Throws `invalid_request`. */
export function attributesIn(headers: IncomingHttpHeaders): CloudEvent<never> | null {
  if (!Object.keys(headers).some((name) => name.startsWith('ce-'))) return null;
  const specversion = attribute(headers, 'specversion');
  if (specversion !== VERSION) {
    throw refused('ce-specversion', `must be ${VERSION}`);
  }
  const [id, source, type] = [attribute(headers, 'id'), attribute(headers, 'source'), attribute(headers, 'type')];
  const subject = headers['ce-subject'] === undefined ? {} : { subject: attribute(headers, 'subject') };
  return { specversion, id, source, type, ...subject };
}

function attribute(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[`ce-${name}`];
  if (value === undefined) throw refused(`ce-${name}`, 'is missing');
  // Written as in a URL: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values
  let text: string;
  try {
    text = decodeURIComponent(String(value).replace(/^"(.*)"$/, '$1'));
  } catch {
    throw refused(`ce-${name}`, 'has a % that does not begin two hexadecimal digits of UTF-8');
  }
  if (text === '' || text.length > LETTERS_MOST) throw refused(`ce-${name}`, `must have 1 to ${LETTERS_MOST} letters`);
  return text;
}

function refused(header: string, problem: string): Failure {
  return new Failure('invalid_request', `The CloudEvent cannot be read: the header ${header} ${problem}`, {
    where: [{ at: header, problem }],
  });
}

/** The trigger that a type names: it itself, or the one of Stash at its end. */
export function triggerOf(type: string): string {
  return STASH_TRIGGERS.find((one) => type.endsWith(`.${one}`)) ?? type;
}

/** The object that it is about. Throws `invalid_request` for a subject that is no number where nothing else tells it. */
export function objectOf(subject: string | undefined, told: number | string | null | undefined): number | null {
  if (told !== undefined) return told === null ? null : Number(told);
  if (subject === undefined) return null;
  if (/^\d{1,15}$/.test(subject)) return Number(subject);
  throw new Failure('invalid_request', 'The subject of the CloudEvent is not the number of an object', {
    where: [{ at: '/subject', problem: 'must be a number, or data.id must say which object it is' }],
  });
}

/** The same event is done once, however often it is delivered. No caller's own key has a space in it. */
export function deliveryOf({ source, id }: Pick<CloudEvent<never>, 'source' | 'id'>): Idempotency {
  const name = hash('sha256', JSON.stringify([source, id]), 'buffer');
  return { key: `cloudevent ${name.toString('hex')}`, hash: name };
}
