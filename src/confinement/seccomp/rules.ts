import type { Call } from './calls.ts';

/**
 * What programs may not ask of the kernel: what could lead out of the sandbox, what has no use in one, and what has been
 * the way into the kernel too often. All else is allowed, so that programs in any language just work; the sandbox has
 * other walls, and this is the one that is closest to the kernel.
 */
export type Verdict = 'allow' | 'kill' | keyof typeof ERRORS;

export const ERRORS = { EPERM: 1, ENOSYS: 38, EPROTONOSUPPORT: 93, EAFNOSUPPORT: 97 } as const;

/**
 * By the lower 32 bits of an argument, which are all that the kernel looks at in those that are judged here: an `int`
 * with something in its upper half is the same `int`.
 */
export type Ruling =
  | Verdict
  | { argument: number; oneOf: readonly number[]; is: Ruling; otherwise: Ruling }
  | { argument: number; anyOf: number; is: Ruling; otherwise: Ruling };

export type Rules = Readonly<Partial<Record<Call, Ruling>>>;

const UNIX = 1;
const INET = 2;
const INET6 = 10;
const NETLINK = 16;
const NETLINK_ROUTE = 0;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. NEWTIME is none of clone's. */
const NAMESPACES = 0x7e020000;

function all(verdict: Verdict, ...calls: Call[]): Rules {
  return Object.fromEntries(calls.map((call) => [call, verdict]));
}

/** For programs of plugins. */
const PROGRAM: Rules = {
  // Mounts, namespaces, and names of files that lead around both.
  ...all('EPERM', 'mount', 'umount2', 'pivot_root', 'chroot', 'unshare', 'setns'),
  ...all('EPERM', 'fsopen', 'fsconfig', 'fsmount', 'fspick', 'move_mount', 'open_tree', 'open_tree_attr'),
  ...all('EPERM', 'mount_setattr', 'name_to_handle_at', 'open_by_handle_at'),
  clone: { argument: 0, anyOf: NAMESPACES, is: 'EPERM', otherwise: 'allow' },
  // Its flags are behind a pointer, where no filter can look. The C library takes clone instead.
  clone3: 'ENOSYS',

  // Other processes.
  ...all('EPERM', 'ptrace', 'process_vm_readv', 'process_vm_writev', 'process_madvise', 'process_mrelease'),
  ...all('EPERM', 'kcmp', 'pidfd_getfd'),

  // Large parts of the kernel that nothing here needs.
  ...all('EPERM', 'bpf', 'perf_event_open', 'userfaultfd', 'io_uring_setup', 'io_uring_enter', 'io_uring_register'),
  ...all('EPERM', 'add_key', 'request_key', 'keyctl', 'fanotify_init', 'vmsplice', 'memfd_secret', 'modify_ldt'),
  ...all('EPERM', 'mbind', 'get_mempolicy', 'set_mempolicy', 'set_mempolicy_home_node', 'migrate_pages', 'move_pages'),

  // The machine itself. It would need capabilities, but what is refused here is not even tried.
  ...all('EPERM', 'init_module', 'finit_module', 'delete_module', 'kexec_load', 'kexec_file_load', 'reboot', 'swapon'),
  ...all('EPERM', 'swapoff', 'acct', 'quotactl', 'quotactl_fd', 'syslog', 'vhangup', 'iopl', 'ioperm', 'personality'),
  ...all('EPERM', 'settimeofday', 'clock_settime', 'clock_adjtime', 'adjtimex', 'sethostname', 'setdomainname'),
  ...all('EPERM', 'nfsservctl', 'lookup_dcookie', 'sysfs', 'uselib', 'ustat', 'lsm_set_self_attr'),

  // Of newer kernels, and no program relies on them: mounts of the host, what is in its page cache, what guards it.
  ...all('ENOSYS', 'statmount', 'listmount', 'cachestat', 'lsm_get_self_attr', 'lsm_list_modules'),

  // What is typed by a program would be read by the shell that started us.
  ioctl: { argument: 1, oneOf: [TIOCSTI, TIOCLINUX], is: 'EPERM', otherwise: 'allow' },

  // Not all families know namespaces: AF_VSOCK reaches the hypervisor from any of them. Of netlink, what tells the
  // addresses of this machine is enough.
  socket: {
    argument: 0,
    oneOf: [UNIX, INET, INET6],
    is: 'allow',
    otherwise: {
      argument: 0,
      oneOf: [NETLINK],
      is: { argument: 2, oneOf: [NETLINK_ROUTE], is: 'allow', otherwise: 'EPROTONOSUPPORT' },
      otherwise: 'EAFNOSUPPORT',
    },
  },
  socketpair: { argument: 0, oneOf: [UNIX], is: 'allow', otherwise: 'EAFNOSUPPORT' },
};

/**
 * For programs of plugins that share the machine's network, and are to have none of it. Where the network is the
 * machine's, so are the sockets in its folders and the abstract ones, hence AF_UNIX is no exception. Pairs are: whoever
 * starts another program talks to it over one.
 */
const OFFLINE: Rules = { ...PROGRAM, socket: 'EAFNOSUPPORT' };

/** For executors, which have all they need when they start: descriptors, and files to read. */
const EXECUTOR: Rules = {
  ...OFFLINE,
  ...all('EPERM', 'connect', 'bind', 'listen', 'accept', 'accept4', 'execveat', 'pidfd_open', 'pidfd_send_signal'),
  ...all('EPERM', 'shmget', 'shmat', 'shmctl', 'shmdt', 'semget', 'semop', 'semtimedop', 'semctl'),
  ...all('EPERM', 'msgget', 'msgsnd', 'msgrcv', 'msgctl', 'mq_open', 'mq_unlink', 'mq_timedsend', 'mq_timedreceive'),
  ...all('EPERM', 'mq_notify', 'mq_getsetattr', 'inotify_init', 'inotify_init1', 'inotify_add_watch', 'fanotify_mark'),
  ...all('EPERM', 'splice', 'tee', 'remap_file_pages'),
};

export const RULES = { program: PROGRAM, offline: OFFLINE, executor: EXECUTOR } as const satisfies Record<
  string,
  Rules
>;

export type Kind = keyof typeof RULES;
