import type { JobRequest, Retries } from './job.ts';

/** What is done about times that passed while nobody was there to notice: nothing, one job, or a job for each. */
export const MISSED = ['skip', 'once', 'all'] as const;
export type Missed = (typeof MISSED)[number];

/** Which ends of a job pull a trigger; `failed` is any end but success and cancelling. */
export const TRIGGER_ENDS = ['succeeded', 'failed', 'any'] as const;
export type TriggerEnd = (typeof TRIGGER_ENDS)[number];

/** What a schedule or a trigger has run. */
export type Order = { request: JobRequest; priority: number; retries: Retries; enabled: boolean };

/** Jobs at times. */
export type ScheduleWish = Order & {
  /** Five fields: minute, hour, day of month, month, day of week. */
  cron: string;
  /** As the IANA database has it, e.g. `Europe/Berlin`. */
  timeZone: string;
  missed: Missed;
};

export type Schedule = ScheduleWish & {
  id: string;
  nextAt: Date | null;
  lastAt: Date | null;
  lastJob: string | null;
  createdAt: Date;
  revision: number;
};

/** A job after a job. */
export type TriggerWish = Order & { on: { plugin: string; task: string | null; end: TriggerEnd } };

export type Trigger = TriggerWish & { id: string; createdAt: Date; revision: number };
