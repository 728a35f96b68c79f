/**
 * Settings that are not for everybody to see are kept sealed: the database, its dumps and our backups have nothing of
 * them but what nobody can read without the key, which is in none of these. Which settings those are is said by the
 * plugin's portrait. A sealed value is bound to its place: one that was copied to another plugin, tenant or setting does
 * not open there.
 *
 * It stands in the stored settings as an object with one member. A value of somebody's own that looks the same is sealed,
 * too, so that whatever looks sealed in there is.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { type FormField, isSecret } from '../core/portrait.ts';
import type { SecretKey, SecretKeys } from './secret-keys.ts';
import type { Tenancy } from './tenancy.ts';

export type VaultOptions = {
  keys: SecretKeys;
  /** Told once of each key that is not there, or does not open what names it. */
  onUnreadable(where: { tenant: string; plugin: string; setting: string; key: string }): void;
};

type Settings = Record<string, unknown>;
type Place = { tenant: string; plugin: string; setting: string };

/** What stands for a secret wherever it is shown. Where it comes back, what is kept stays. */
export const MASK = '********';
/** What stands for one that nobody can read any more. */
export const UNREADABLE = '(unreadable)';

const SEALED = 'isopod:sealed';
const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** Shorter ones are found in too much that has nothing to do with them. */
const TELLING_LETTERS = 6;
const TOLD_MOST = 100;

export class Vault {
  readonly #options: VaultOptions;
  /** By what is stored, which is the same object until something of it changes. */
  readonly #opened = new WeakMap<object, Settings>();
  readonly #told = new Set<string>();

  constructor(options: VaultOptions) {
    this.#options = options;
  }

  /** What is set for a plugin, for whoever may look at settings. */
  shown(tenancy: Tenancy, plugin: string, stored: Readonly<Settings> = tenancy.settings(plugin)): Settings {
    if (isPlain(tenancy, plugin)) return { ...stored };
    const secret = secretsIn(tenancy, plugin);
    return mapped(stored, (value, setting) => {
      if (!isSealed(value)) return [secret.has(setting) && !isEmpty(value) ? MASK : value];
      return [this.#open(value, { tenant: tenancy.id, plugin, setting }) === undefined ? UNREADABLE : MASK];
    });
  }

  /** The same in clear, for the plugin itself. What cannot be read is not set. */
  opened(tenancy: Tenancy, plugin: string, stored: Readonly<Settings> = tenancy.settings(plugin)): Settings {
    if (isPlain(tenancy, plugin)) return { ...stored };
    const known = this.#opened.get(stored);
    if (known !== undefined) return { ...known };
    const opened = mapped(stored, (value, setting) => {
      if (!isSealed(value)) return [value];
      const found = this.#open(value, { tenant: tenancy.id, plugin, setting });
      return found === undefined ? [] : [found.value];
    });
    this.#opened.set(stored, opened);
    return { ...opened };
  }

  /** The texts that whoever is not to see secrets is not to see anywhere. */
  secrets(tenancy: Tenancy, plugin: string): string[] {
    const stored = tenancy.settings(plugin);
    const secret = secretsIn(tenancy, plugin);
    const values = Object.entries(this.opened(tenancy, plugin, stored))
      .filter(([setting]) => secret.has(setting) || isSealed(stored[setting]))
      .flatMap(([, value]) => textsIn(value));
    return [...new Set(values.filter((text) => text.length >= TELLING_LETTERS))];
  }

  /** How `settings` are to be stored over what is. Those that are not among them are not in what this gives. */
  sealed(
    tenancy: Tenancy,
    plugin: string,
    settings: Readonly<Settings>,
    stored: Readonly<Settings> = tenancy.settings(plugin),
  ): Settings {
    if (isPlain(tenancy, plugin)) return { ...settings };
    const secret = secretsIn(tenancy, plugin);
    const fields = new Set(fieldsIn(tenancy, plugin).map(({ id }) => id));
    return mapped(settings, (value, setting) => {
      const place = { tenant: tenancy.id, plugin, setting };
      const before = Object.hasOwn(stored, setting) ? stored[setting] : undefined;
      if (value === MASK && (secret.has(setting) || isSealed(before))) return this.#kept(before, place);
      if (value === UNREADABLE && isSealed(before) && this.#open(before, place) === undefined) return [before];
      // While its code has not been looked at, a plugin may not say what is secret that it said before.
      const was = isSealed(before) && !fields.has(setting);
      const isToSeal = (secret.has(setting) || was) && !isEmpty(value);
      return [isToSeal || isSealed(value) ? this.#seal(value, place) : value];
    });
  }

  /** What is stored as it would be today: sealed where it was not, and with the present key. Null where it is so already. */
  renewed(tenancy: Tenancy, plugin: string, stored: Readonly<Settings>): Settings | null {
    if (isPlain(tenancy, plugin)) return null;
    const secret = secretsIn(tenancy, plugin);
    let isNew = false;
    const renewed = mapped(stored, (value, setting) => {
      if (!isSealed(value) && (!secret.has(setting) || isEmpty(value))) return [value];
      const [now] = this.#kept(value, { tenant: tenancy.id, plugin, setting });
      isNew ||= now !== value;
      return [now];
    });
    return isNew ? renewed : null;
  }

  /** What is stored, under the present key where that can be. Nothing where nothing is. */
  #kept(before: unknown, place: Place): unknown[] {
    if (before === undefined) return [];
    if (!isSealed(before)) return [isEmpty(before) ? before : this.#seal(before, place)];
    const found = this.#open(before, place);
    return [
      found === undefined || found.key === this.#options.keys.present.id ? before : this.#seal(found.value, place),
    ];
  }

  #seal(value: unknown, place: Place): Sealed {
    const { id, bytes } = this.#options.keys.present;
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, bytes, iv, { authTagLength: TAG_BYTES }).setAAD(bound(place));
    const text = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return { [SEALED]: `${id}.${iv.toString('base64url')}.${text.toString('base64url')}` };
  }

  #open({ [SEALED]: text }: Sealed, place: Place): { value: unknown; key: string } | undefined {
    const [id = '', iv = '', sealed = ''] = text.split('.');
    const key = this.#options.keys.find(id);
    const value = key === undefined ? undefined : unsealed(key, iv, Buffer.from(sealed, 'base64url'), place);
    if (value !== undefined) return { key: id, value };
    this.#tell(id, place);
    return undefined;
  }

  #tell(key: string, place: Place): void {
    if (this.#told.has(key) || this.#told.size >= TOLD_MOST) return;
    this.#told.add(key);
    this.#options.onUnreadable({ ...place, key });
  }
}

type Sealed = { [SEALED]: string };

function isSealed(value: unknown): value is Sealed {
  if (typeof value !== 'object' || value === null) return false;
  const [first, ...rest] = Object.entries(value);
  return first?.[0] === SEALED && typeof first[1] === 'string' && rest.length === 0;
}

/** Undefined where it was sealed by another, for another place, or has been changed since. */
function unsealed({ bytes }: SecretKey, iv: string, sealed: Buffer, place: Place): unknown {
  const at = sealed.length - TAG_BYTES;
  if (at <= 0) return undefined;
  try {
    const decipher = createDecipheriv(CIPHER, bytes, Buffer.from(iv, 'base64url'), { authTagLength: TAG_BYTES });
    decipher.setAAD(bound(place)).setAuthTag(sealed.subarray(at));
    return JSON.parse(Buffer.concat([decipher.update(sealed.subarray(0, at)), decipher.final()]).toString());
  } catch {
    return undefined;
  }
}

function bound({ tenant, plugin, setting }: Place): Buffer {
  return Buffer.from(JSON.stringify([tenant, plugin, setting]));
}

/** Whether nothing of its settings is anybody's secret: a format without such fields. */
function isPlain(tenancy: Tenancy, plugin: string): boolean {
  return (tenancy.catalogue.plugins.get(plugin) ?? tenancy.state(plugin)?.known)?.dialect === 'stash';
}

/** What the plugin says of itself, and was heard to say when its code was looked at last. */
function fieldsIn(tenancy: Tenancy, plugin: string): FormField[] {
  const found = tenancy.catalogue.plugins.get(plugin);
  const now = found === undefined ? [] : tenancy.portrait(found).fields;
  return [...now, ...(tenancy.state(plugin)?.known?.portrait?.fields ?? [])];
}

/** It is enough that it was called secret in one of these places. */
function secretsIn(tenancy: Tenancy, plugin: string): ReadonlySet<string> {
  return new Set(
    fieldsIn(tenancy, plugin)
      .filter(isSecret)
      .map(({ id }) => id),
  );
}

/** There is nothing to hide, and whoever looks sees that nothing is set. */
function isEmpty(value: unknown): boolean {
  return value === '' || value === null;
}

function mapped(settings: Readonly<Settings>, to: (value: unknown, setting: string) => readonly unknown[]): Settings {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([setting, value]) => to(value, setting).map((one) => [setting, one] as const)),
  );
}

function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value === 'number') return [String(value)];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}
