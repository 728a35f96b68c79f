// The sessions of a program that stays, with the clock in our hand.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Residency } from '../../src/core/resident.ts';
import type { Session } from '../../src/core/session.ts';
import { Lead } from '../../src/programs/lead.ts';
import type { ResidentProcess } from '../../src/programs/resident-process.ts';
import { sessionOf } from '../support/session.ts';

const HOUR_MS = 3_600_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('each hour has a session of its own, and what is open then has an hour to end', () => {
  const told: string[] = [];
  const sessions: Session[] = [];
  const nameOf = (session: Session) => sessions.indexOf(session) + 1;
  const openSession = () => {
    const session: Session = {
      ...sessionOf({ graphql: async () => ({ status: 200, body: '' }) }),
      handOver: (next) => void told.push(`${nameOf(session)} to ${nameOf(next)}`),
      end: () => void told.push(`end ${nameOf(session)}`),
    };
    sessions.push(session);
    return session;
  };
  const letting = { lead: ({ session }: { session: Session }) => void told.push(`lead ${nameOf(session)}`) };
  const hour = () => {
    vi.advanceTimersByTime(HOUR_MS);
    return told.splice(0);
  };
  const lead = new Lead({ openSession } as unknown as Residency, { letting } as unknown as ResidentProcess, () => {});
  expect(told.splice(0)).toEqual(['lead 1']);
  expect(hour()).toEqual(['lead 2', '1 to 2']);
  expect(hour()).toEqual(['lead 3', '2 to 3', 'end 1']);
  lead[Symbol.dispose]();
  expect(told.splice(0)).toEqual(['end 2', 'end 3']);
  expect(hour()).toEqual([]);
});
