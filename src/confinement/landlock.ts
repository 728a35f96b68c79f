import { dirname } from 'node:path';
import type { Machine } from './machine.ts';
import type { Room } from './room.ts';
import { filterFile } from './seccomp.ts';

/**
 * Where there are no namespaces, setpriv (util-linux 2.41 and later) puts most of the machine's files out of bounds and
 * takes the system-call filter. Names of files stay visible, and so does the network.
 */
export function landlockArgs(machine: Machine, { scratch, binds, identity }: Room): string[] {
  const setpriv = machine.setpriv ?? '';
  const user = String(identity);
  const down = machine.isRoot ? ['--reuid', user, '--regid', user, '--clear-groups', '--bounding-set=-all'] : [];
  const rules = [
    ...['/usr', '/bin', '/sbin', '/lib', '/lib64'].map((path) => [RUN, path]),
    ...['/etc/ld.so.cache', '/etc/localtime', '/dev/urandom', '/dev/random', '/dev/zero'].map((path) => [READ, path]),
    ...['/etc/ssl/certs', '/etc/alternatives', '/proc/self'].map((path) => [LOOK, path]),
    ['read-file,write-file', '/dev/null'],
    ...(scratch === null ? [] : [[ALL, scratch]]),
    ...binds.map(({ path, mode }) => [mode === 'rw' ? ALL : RUN, path]),
    [RUN, dirname(process.execPath)],
  ];
  const filter = filterFile('program');
  return [
    setpriv,
    ...down,
    '--no-new-privs',
    '--inh-caps=-all',
    '--landlock-access',
    'fs',
    ...rules.flatMap(([rights, path]) => ['--landlock-rule', `path-beneath:${rights}:${path}`]),
    ...(filter === null ? [] : ['--seccomp-filter', filter]),
    '--',
  ];
}

const READ = 'read-file';
const LOOK = 'read-file,read-dir';
const RUN = 'execute,read-file,read-dir';
const ALL = [
  RUN,
  'write-file,truncate,remove-dir,remove-file,make-dir,make-reg,make-sock,make-fifo,make-sym,refer',
].join(',');
