import type { Job, JobRequest } from '../../core/job.ts';
import { numberOfJob } from '../../core/job-number.ts';
import { stripped } from '../../core/text.ts';

export type JobStatus = 'READY' | 'RUNNING' | 'FINISHED' | 'STOPPING' | 'CANCELLED' | 'FAILED';

/** A job as Stash shows it. Contract: Stash `pkg/job`, and its `graphql/schema/types/job.graphql`. */
export type JobView = {
  id: string;
  status: JobStatus;
  subTasks: null;
  description: string;
  progress: number;
  startTime: Date | null;
  endTime: Date | null;
  addTime: Date;
  error: string | null;
};

const ERROR_CHARACTERS = 4_096;

export function jobView(job: Job): JobView {
  const { id, request, cause, failure, progress, startedAt, endedAt, createdAt, state } = job;
  return {
    id: String(numberOfJob(id)),
    status: statusOf(job),
    subTasks: null,
    description: descriptionOf(request, cause),
    progress: progress ?? 0,
    startTime: state === 'waiting' ? null : startedAt,
    endTime: endedAt,
    addTime: createdAt,
    error:
      failure === null || state === 'cancelled'
        ? null
        : stripped(failure.ownWords ?? failure.message, ERROR_CHARACTERS),
  };
}

/** A plugin that ran and answered an error has finished; everything else that went wrong is a failure. */
function statusOf({ state, failure, cancelAskedAt }: Job): JobStatus {
  switch (state) {
    case 'waiting':
      return 'READY';
    case 'running':
      return cancelAskedAt === null ? 'RUNNING' : 'STOPPING';
    case 'succeeded':
      return 'FINISHED';
    case 'cancelled':
      return 'CANCELLED';
    case 'failed':
    case 'dead':
      return failure?.code === 'plugin_error' ? 'FINISHED' : 'FAILED';
  }
}

/** What is not in a list of jobs, such as the name of the hook, is not in it. */
function descriptionOf({ description, task, plugin }: JobRequest, cause: Job['cause']): string {
  if (cause !== null && 'event' in cause) return `Running plugin hook: ${plugin} (${cause.type})`;
  return `Running plugin task: ${description ?? task ?? plugin}`;
}
