/**
 * The part of Dispatcharr's API that is about repositories of plugins: which there are, what they offer, and how it is
 * installed. Errors are `{"error": "…"}` here. Contract: Dispatcharr `apps/plugins/api_urls.py`, `api_views.py`,
 * `Plugin_repo.md`.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure, type FailureCode } from '../../core/failure.ts';
import { type PluginRepo, REFRESH_HOURS } from '../../core/plugin-repo.ts';
import { stripped } from '../../core/text.ts';
import type { Hub } from '../../engine/hub/hub.ts';
import { type AnswerBudget, PluginsText } from '../answer-budget.ts';
import type { App } from '../app.ts';
import { callerSignal } from '../caller-signal.ts';
import { STATUS } from '../errors.ts';
import { booleanIn, fieldErrors, isTrue, numberIn, textIn } from './repo-fields.ts';

export type RepoRoutes = {
  hub: Hub;
  answers: AnswerBudget;
  /** A plugin as the host's list has it. */
  viewOf(request: FastifyRequest, plugin: string): Promise<unknown>;
};

const tags = ['dispatcharr'];
const ERROR_CHARACTERS = 1_000;
/** Longer ones name nothing in the database. */
const Repo = Type.Object({ id: Type.String({ description: 'Id of the repository' }) });
const REPO = '/repos/:id(^[0-9]{1,9}$)/';

/** Below where the host has its API of plugins. */
export function repos(scope: App, { hub, answers, viewOf }: RepoRoutes): void {
  const { repositories } = hub;

  scope.get(
    '/repos/',
    {
      config: { scope: 'invoke' },
      schema: { operationId: 'listPluginRepos', summary: 'The repositories of plugins that there are', tags },
    },
    answering(async ({ tenant }) => (await repositories.list(tenant)).map(viewOfRepo)),
  );

  scope.post(
    '/repos/',
    {
      config: { scope: 'manage' },
      schema: { operationId: 'addPluginRepo', summary: 'Add a repository by the URL of its manifest', tags },
    },
    answering(async (request, reply) => {
      const wrong = fieldErrors(request);
      if (wrong !== null) return reply.code(400).send(wrong);
      const wish = { url: textIn(request, 'url'), publicKey: textIn(request, 'public_key') };
      const repo = await repositories.add(request.tenant, wish, callerSignal(reply)).catch((error: unknown) => {
        // The host has one word for whatever it did not get; only a later refresh is the fault of the other side.
        throw error instanceof Failure && error.code === 'source_failed' ? invalid(error) : error;
      });
      return reply.code(201).send(viewOfRepo(repo));
    }),
  );

  scope.post(
    '/repos/preview/',
    {
      config: { scope: 'manage' },
      schema: { operationId: 'previewPluginRepo', summary: 'What would come of adding a repository', tags },
    },
    answering(async (request, reply) => {
      const wish = { url: textIn(request, 'url').trim(), publicKey: textIn(request, 'public_key') };
      if (wish.url === '') throw new Failure('invalid_request', 'url is required');
      const { manifest, verified, problems } = await repositories.preview(request.tenant, wish, callerSignal(reply));
      const errors = problems.map((one) => stripped(one, ERROR_CHARACTERS));
      if (manifest === null) return { valid: false, errors };
      return {
        valid: errors.length === 0,
        registry_name: manifest.name,
        registry_url: manifest.registryUrl,
        signature_verified: verified,
        plugin_count: manifest.plugins.length,
        errors,
      };
    }),
  );

  scope.put(
    REPO,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'changePluginRepo',
        summary: 'Set the public key of a repository, or whether it is enabled',
        tags,
        params: Repo,
      },
    },
    answering(async (request, reply) => {
      const id = repoOf(request);
      const enabled = booleanIn(request, 'enabled');
      if (enabled === null) return reply.code(400).send({ enabled: ['Must be a valid boolean.'] });
      return viewOfRepo(
        await repositories.change(request.tenant, id, {
          ...(enabled === undefined ? {} : { enabled }),
          ...(textIn(request, 'public_key', null) === null ? {} : { publicKey: textIn(request, 'public_key') }),
        }),
      );
    }),
  );

  scope.delete(
    REPO,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'removePluginRepo',
        summary: 'Remove a repository; what was installed from it stays',
        tags,
        params: Repo,
      },
    },
    answering(async (request) => {
      await repositories.remove(request.tenant, repoOf(request));
      return { success: true };
    }),
  );

  scope.post(
    `${REPO}refresh/`,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'refreshPluginRepo',
        summary: 'Fetch the manifest of a repository again',
        tags,
        params: Repo,
      },
    },
    answering(async (request, reply) =>
      viewOfRepo(await repositories.refresh(request.tenant, repoOf(request), callerSignal(reply))),
    ),
  );

  scope.get(
    '/repos/available/',
    {
      config: { scope: 'invoke' },
      schema: { operationId: 'listOfferedPlugins', summary: 'What all repositories offer', tags },
    },
    answering(async (request, reply) => {
      const text = new PluginsText(answers.begin(request, reply));
      for await (const one of hub.available(request.tenancy)) text.add(one);
      return text.send(reply);
    }),
  );

  scope.post(
    '/repos/plugin-detail/',
    {
      config: { scope: 'manage' },
      schema: { operationId: 'readOfferedPlugin', summary: 'The manifest of a single plugin, with all versions', tags },
    },
    answering(async (request, reply) => {
      const [repo, url] = [numberIn(request, 'repo_id'), textIn(request, 'manifest_url')];
      if (repo === null || url === '') throw new Failure('invalid_request', 'repo_id and manifest_url are required');
      const { manifest, verified } = await hub.detail(request.tenancy, repo, url, callerSignal(reply));
      return { manifest, signature_verified: verified };
    }),
  );

  scope.post(
    '/repos/install/',
    {
      config: { scope: 'manage' },
      schema: { operationId: 'installOfferedPlugin', summary: 'Install a plugin that a repository offers', tags },
    },
    answering(async (request, reply) => {
      const repo = numberIn(request, 'repo_id');
      const [slug, version, url] = ['slug', 'version', 'download_url'].map((name) => textIn(request, name));
      if (repo === null || !slug || !version || !url) {
        throw new Failure('invalid_request', 'repo_id, slug, version and download_url are required');
      }
      const order = {
        ...{ repo, slug, version, url },
        sha256: textIn(request, 'sha256'),
        min: textIn(request, 'min_dispatcharr_version'),
        max: textIn(request, 'max_dispatcharr_version'),
        isPrerelease: isTrue(request, 'prerelease'),
      };
      const { plugin, isNew } = await hub.install(request.tenancy, order, callerSignal(reply));
      return reply.code(isNew ? 201 : 200).send({ success: true, plugin: await viewOf(request, plugin.id) });
    }),
  );

  scope.get(
    '/repos/settings/',
    {
      config: { scope: 'invoke' },
      schema: { operationId: 'getPluginRepoSettings', summary: 'How often repositories are refreshed', tags },
    },
    answering(async ({ tenant }) => ({ refresh_interval_hours: await repositories.refreshHours(tenant) })),
  );

  scope.put(
    '/repos/settings/',
    {
      config: { scope: 'manage' },
      schema: { operationId: 'putPluginRepoSettings', summary: 'Set how often they are; 0 is never', tags },
    },
    answering(async (request) => {
      const hours = numberIn(request, 'refresh_interval_hours') ?? REFRESH_HOURS;
      return { refresh_interval_hours: await repositories.refreshEvery(request.tenant, hours) };
    }),
  );
}

function viewOfRepo(repo: PluginRepo) {
  return {
    id: repo.id,
    name: repo.name,
    url: repo.url,
    is_official: repo.isOfficial,
    enabled: repo.enabled,
    public_key: repo.publicKey,
    signature_verified: repo.verified,
    registry_url: repo.registryUrl,
    plugin_count: repo.offers.length,
    last_fetched: repo.fetchedAt.toISOString(),
    last_fetch_status: repo.status,
    created_at: repo.createdAt.toISOString(),
    updated_at: repo.updatedAt.toISOString(),
  };
}

function repoOf({ params }: FastifyRequest): number {
  return Number((params as { id: string }).id);
}

/** Refusals of the hub in the host's shape; what is about the caller, or our own fault, is for whoever is around it. */
function answering(handle: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    try {
      return await handle(request, reply);
    } catch (error) {
      if (!(error instanceof Failure) || !OF_THE_HUB.has(error.code)) throw error;
      const status = BAD.has(error.code) ? 400 : STATUS[error.code];
      const there = error.code === 'conflict' ? error.details.where?.[0]?.at : undefined;
      const words = stripped(
        there === undefined ? error.message : `Plugin '${there}' already exists`,
        ERROR_CHARACTERS,
      );
      const isOfArchive = there !== undefined || OF_ARCHIVES.has(error.code);
      const body = isOfArchive ? { success: false, error: words } : { error: words };
      return reply.code(status).header('isopod-error-code', error.code).send(body);
    }
  };
}

function invalid({ message, details }: Failure): Failure {
  return new Failure('invalid_request', message, details);
}

/** What its host says of an archive that it refuses has one key more. */
const OF_ARCHIVES: ReadonlySet<FailureCode> = new Set(['package_rejected', 'payload_too_large']);
/** For all of these its host has one status. */
const BAD: ReadonlySet<FailureCode> = new Set([
  'invalid_request',
  'manifest_rejected',
  'package_rejected',
  'payload_too_large',
  'conflict',
  'quota_exceeded',
]);
const OF_THE_HUB: ReadonlySet<FailureCode> = new Set([...BAD, 'not_found', 'source_failed']);
