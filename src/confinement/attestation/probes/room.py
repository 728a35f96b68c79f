"""Tries every way out of the room that it is started in, and prints what came of each.

It judges nothing. An attempt comes out as "ok", as the name of an error (EPERM), or as "?" and why it could not be made.
It writes only where nobody has put anything (files without names, the canaries' own folders), and every fork is bounded.
Its one argument is JSON: see findings.ts, which also has the form of what it prints.
"""
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import platform
import pty
import resource
import signal
import socket
import stat
import struct
import sys
import time

task = json.loads(sys.argv[1])
libc = ctypes.PyDLL(None, use_errno=True)  # Keeps the interpreter's lock, so that a child of clone finds it.
libc.syscall.restype = ctypes.c_long

X64 = dict(
    keyctl=250, add_key=248, bpf=321, perf_event_open=298, io_uring_setup=425, userfaultfd=323, mount=165, unshare=272,
    ptrace=101, clone=56, clone3=435, process_vm_readv=310, pidfd_open=434, pidfd_send_signal=424, open_tree=428, chroot=161,
    open_by_handle_at=304, setns=308, statfs=137,
)
ARM64 = dict(
    keyctl=219, add_key=217, bpf=280, perf_event_open=241, io_uring_setup=425, userfaultfd=282, mount=40, unshare=97,
    ptrace=117, clone=220, clone3=435, process_vm_readv=270, pidfd_open=434, pidfd_send_signal=424, open_tree=428, chroot=51,
    open_by_handle_at=265, setns=268, statfs=43,
)
CALLS = {'x86_64': X64, 'aarch64': ARM64}.get(platform.machine(), {})

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


def name_of(number):
    return errno.errorcode.get(number, 'error %d' % number)


def attempt(action):
    try:
        action()
        return 'ok'
    except OSError as error:
        return name_of(error.errno or 0)
    except Exception as error:  # Something that this Python cannot do.
        return '? %s' % type(error).__name__


def call(name, *args):
    """A system call as it is, without anything of the C library's around it."""
    if name not in CALLS:
        raise NotImplementedError(name)
    plain = [ctypes.c_long(one) if isinstance(one, int) else one for one in args]
    result = libc.syscall(ctypes.c_long(CALLS[name]), *plain)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def closing(descriptor):
    os.close(descriptor)


def apart(action):
    """In a child, as it may change who we are. What the child says is how its attempt came out."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there, attempt(action).encode())
        os._exit(0)
    os.close(there)
    said = os.read(here, 200).decode()
    os.close(here)
    os.waitpid(child, 0)
    return said or '? the child was killed'


def text_of(path, most=65536):
    with open(path, 'rb', buffering=0) as file:
        return file.read(most)


def link_of(path):
    try:
        return os.readlink(path)
    except OSError:
        return None


def names_in(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return None


# Before anything is opened.
def descriptors():
    found = []
    for number in range(3, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0])):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
        except OSError:
            continue
        found.append({'number': number, 'leads': link_of('/proc/self/fd/%d' % number)})
    return found


def status():
    wanted = ('NoNewPrivs', 'Seccomp', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')
    found = {}
    try:
        for line in text_of('/proc/self/status').decode().splitlines():
            name, _, value = line.partition(':')
            if name in wanted:
                found[name] = value.strip()
    except OSError:
        # Without /proc the kernel can be asked in two other ways, of which this is the one that says most.
        found['NoNewPrivs'] = str(libc.prctl(39, 0, 0, 0, 0))
        found['Seccomp'] = str(max(0, libc.prctl(21, 0, 0, 0, 0)))
    return found


def environment():
    secret = any(hashlib.sha256(os.fsencode(value)).hexdigest() == task['secretHash'] for value in os.environ.values())
    return {'names': sorted(os.environ), 'secret': secret}


def read_attempt(path):
    def reading():
        if os.path.isdir(path):
            os.listdir(path)
        else:
            text_of(path, 16)
    return attempt(reading)


O_TMPFILE = getattr(os, 'O_TMPFILE', 0)


def unnamed(folder):
    """A file without a name: it is gone when it is closed, whatever becomes of us."""
    return os.open(folder, os.O_RDWR | O_TMPFILE | os.O_CLOEXEC, 0o600)


def write_attempt(folder):
    outcome = attempt(lambda: closing(unnamed(folder)))
    if outcome not in ('EOPNOTSUPP', 'EISDIR', 'EINVAL'):
        return outcome
    name = os.path.join(folder, '.isopod-%s' % task['id'])

    def named():
        closing(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(name)
    return attempt(named)


def plant_attempt(folder):
    """Where the host looks afterwards, and cleans up."""
    path = os.path.join(folder, task['id'])
    return attempt(lambda: closing(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)))


TMPFS = 0x01021994
PAGE = 4096


def room_of(folder):
    """How much may be kept in a folder, and whether more is refused."""
    whole = os.statvfs(folder)
    size = whole.f_blocks * whole.f_frsize
    buffer = ctypes.create_string_buffer(256)
    kind = 'unknown'
    if attempt(lambda: call('statfs', ctypes.c_char_p(os.fsencode(folder)), buffer)) == 'ok':
        kind = 'tmpfs' if struct.unpack_from('l', buffer.raw)[0] == TMPFS else 'disk'
    beyond = '? it is on a disk'
    if kind == 'tmpfs':
        beyond = 'ok'
        # A tmpfs refuses what is more than all of it before it takes any. One without a size, or a huge one, is no bound.
        if 0 < size <= 1 << 30:
            file = unnamed(folder)
            beyond = attempt(lambda: os.posix_fallocate(file, 0, size + PAGE))
            closing(file)
    return {'path': folder, 'kind': kind, 'bytes': size, 'beyond': beyond}


def long_file(folder):
    """64 GB with nothing in them take no room."""
    def grow():
        file = unnamed(folder)
        try:
            os.ftruncate(file, 64 << 30)
        finally:
            closing(file)
    return attempt(grow)


def core():
    child = os.fork()
    if child == 0:
        os.abort()
    left = os.WCOREDUMP(os.waitpid(child, 0)[1])
    collector = False
    try:
        collector = text_of('/proc/sys/kernel/core_pattern').startswith(b'|')
    except OSError:
        pass
    return 'collected' if left and collector else 'ok' if left else 'none'


CANARY = ''.join(task['canary']['mark'])


def is_canary():
    try:
        return CANARY.encode() in text_of('/proc/%d/cmdline' % task['canary']['pid'])
    except OSError:
        return False


def process_list():
    names = names_in('/proc')
    if names is None:
        return {'seen': 0, 'canary': False}
    pids = [one for one in names if one.isdigit()]
    return {'seen': len(pids), 'canary': any(
        attempt(lambda: text_of('/proc/%s/cmdline' % one)) == 'ok' and CANARY.encode() in text_of('/proc/%s/cmdline' % one)
        for one in pids if one != str(os.getpid()))}


def others():
    """The canary process stands for the service: it is of the same user."""
    pid = task['canary']['pid']
    there = is_canary()
    shares = link_of('/proc/self/ns/pid') == task['pidNamespace']
    tries = {}

    def environ():
        if CANARY.encode() not in text_of('/proc/%d/environ' % pid):
            raise OSError(errno.ESRCH, 'not the canary')

    def memory():
        if not there:
            raise OSError(errno.ESRCH, 'not the canary')
        closing(os.open('/proc/%d/mem' % pid, os.O_RDONLY | os.O_CLOEXEC))

    def by_folder():
        if not there:
            raise OSError(errno.ESRCH, 'not the canary')
        folder = os.open('/proc/%d' % pid, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            call('pidfd_send_signal', folder, 0, 0, 0)
        finally:
            os.close(folder)

    tries['environ'] = attempt(environ)
    tries['mem'] = attempt(memory)
    tries['signal by /proc'] = attempt(by_folder)
    # A number of the machine's names nobody, or somebody of ours, in a namespace of our own; and 0 would be all of us.
    if shares and pid > 1:
        tries['ptrace'] = apart(lambda: call('ptrace', 0x4206, pid, 0, 0))
        tries['process_vm_readv'] = attempt(lambda: call('process_vm_readv', pid, 0, 0, 0, 0, 0))
        tries['signal to the service'] = attempt(lambda: os.kill(task['service'], 0))
        tries['signal to the parent'] = attempt(lambda: os.kill(os.getppid(), 0))
        # Last, as it ends it. Whoever cannot be seen to be the canary is only asked after.
        tries['signal'] = attempt(lambda: os.kill(pid, signal.SIGKILL if there else 0))
    return tries


def dial(family, kind, address, word=None):
    def dialling():
        with socket.socket(family, kind) as one:
            one.settimeout(1)
            one.connect(address)
            if word is not None:
                one.send(word)
    return attempt(dialling)


def network():
    word = task['id'].encode()
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    return {
        'tcp': dial(socket.AF_INET, stream, ('127.0.0.1', task['tcp4'])),
        'tcp6': dial(socket.AF_INET6, stream, ('::1', task['tcp6'])) if task['tcp6'] else '? the machine has no ::1',
        # Sending succeeds where nobody listens: whether it arrives is the host's to say.
        'udp': dial(socket.AF_INET, datagram, ('127.0.0.1', task['udp4']), word),
        'unix': dial(socket.AF_UNIX, stream, task['unix']),
        'abstract': dial(socket.AF_UNIX, stream, '\0' + task['abstract']),
        'docker': dial(socket.AF_UNIX, stream, '/var/run/docker.sock'),
        # Nothing is sent: that there is a way is all there is to know. The first is the metadata service of clouds.
        'route to 169.254.169.254': dial(socket.AF_INET, datagram, ('169.254.169.254', 80)),
        'route to 192.0.2.1': dial(socket.AF_INET, datagram, ('192.0.2.1', 80)),
        'route to 2001:db8::1': dial(socket.AF_INET6, datagram, ('2001:db8::1', 80)),
        'raw': attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()),
        'ping': attempt(lambda: socket.socket(socket.AF_INET, datagram, socket.IPPROTO_ICMP).connect(('192.0.2.1', 0))),
    }


FAMILIES = {'vsock': 40, 'packet': 17, 'alg': 38, 'bluetooth': 31, 'can': 29, 'key': 15, 'rds': 21, 'tipc': 30, 'xdp': 44}


def families():
    found = {}
    for name, number in FAMILIES.items():
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
        tries = [attempt(lambda: socket.socket(number, kind, 0).close()) for kind in kinds]
        found[name] = 'ok' if 'ok' in tries else tries[0]
    return found


def steal_input():
    """TIOCSTI puts words into the mouth of whoever types at a terminal."""
    def push(terminal):
        fcntl.ioctl(terminal, 0x5412, b' ')
    try:
        ours, theirs = pty.openpty()
    except OSError:
        return attempt(lambda: push(0))
    try:
        return attempt(lambda: push(theirs))
    finally:
        os.close(ours)
        os.close(theirs)


def system_calls():
    nothing = ctypes.c_void_p(None)
    return {
        'keyctl': attempt(lambda: call('keyctl', 0, -3, 0)),
        'add_key': attempt(lambda: call('add_key', nothing, nothing, nothing, 0, -3)),
        'bpf': attempt(lambda: call('bpf', 9999, nothing, 0)),
        'perf_event_open': attempt(lambda: closing(call('perf_event_open', nothing, 0, -1, -1, 0))),
        'io_uring_setup': attempt(lambda: closing(call('io_uring_setup', 0, nothing))),
        'userfaultfd': attempt(lambda: closing(call('userfaultfd', os.O_CLOEXEC | 1))),
        'mount': attempt(lambda: call('mount', nothing, nothing, nothing, 0, nothing)),
        'open_tree': attempt(lambda: closing(call('open_tree', -100, ctypes.c_char_p(b'/'), 0x1 | os.O_CLOEXEC))),
        'open_by_handle_at': attempt(lambda: closing(call('open_by_handle_at', -100, nothing, 0))),
        'setns': attempt(lambda: call('setns', -1, 0)),
        'chroot': apart(lambda: call('chroot', ctypes.c_char_p(b'/'))),
        'ptrace': apart(lambda: call('ptrace', 0, 0, 0, 0)),
        'TIOCSTI': steal_input(),
    }


def cloned(name, *args):
    def cloning():
        child = call(name, *args)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    return attempt(cloning)


def nested():
    form = struct.pack('8Q', CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return {
        'unshare user': apart(lambda: call('unshare', CLONE_NEWUSER)),
        'unshare mounts': apart(lambda: call('unshare', CLONE_NEWNS)),
        'clone user': cloned('clone', CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0),
        'clone3 user': cloned('clone3', ctypes.c_char_p(form), len(form)),
    }


def rises():
    """Becoming somebody else."""
    tries = {'setuid 0': apart(lambda: os.setresuid(0, 0, 0)), 'setgid 0': apart(lambda: os.setresgid(0, 0, 0))}
    return {} if os.getuid() == 0 else tries


BASIC = {'null', 'zero', 'full', 'random', 'urandom', 'tty', 'console', 'ptmx', 'pts', 'shm', 'stdin', 'stdout', 'stderr', 'fd',
         'core', 'mqueue'}
# Opening these to read does nothing to them. Of others (a watchdog) one cannot be sure: they are only asked after.
TRIED = ('mem', 'kmem', 'port', 'kmsg', 'fuse', 'kvm', 'net/tun', 'vsock', 'vhost-vsock', 'vhost-net', 'loop-control', 'loop0',
         'sda', 'vda', 'xvda', 'nvme0n1', 'dm-0', 'mapper/control', 'btrfs-control', 'userfaultfd', 'dri/card0')


def devices():
    def is_open(name):
        path = '/dev/' + name
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return False
        return (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and (os.access(path, os.R_OK) or os.access(path, os.W_OK))
    names = [one for one in names_in('/dev') or [] if one not in BASIC]
    names += ['%s/%s' % (folder, one) for folder in names for one in names_in('/dev/' + folder) or []]
    tries = {}
    for name in TRIED:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        tries[name] = attempt(lambda: closing(os.open('/dev/' + name, flags)))
    return {'open': [one for one in names if one not in TRIED and is_open(one)][:100], 'tries': tries}


def to_nothing():
    nothing = os.open('/dev/null', os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)


def survivor(hides):
    """Ours in all but name: a session of its own, and, if it hides, no parent and no environment that leads to us."""
    here, there = os.pipe()  # Closed by exec: its end says that the survivor is what it is going to be.
    child = os.fork()
    if child == 0:
        os.setsid()
        if hides:
            for _ in range(2):
                if os.fork() > 0:
                    os._exit(0)
                # Nobody sees us as a child of somebody for long.
                while os.getppid() not in (1, reaper):
                    time.sleep(0.001)
        os.close(here)
        to_nothing()
        words = ['isopod-survivor-%s-%s' % (task['id'], 'hidden' if hides else 'plain'), '20']
        try:
            os.execve('/bin/sleep', words, {} if hides else dict(os.environ))
        except OSError as error:
            os.write(there, name_of(error.errno).encode())
        os._exit(1)
    os.close(there)
    said = os.read(here, 100).decode()
    os.close(here)
    return said or 'ok'


def reaper_of():
    """To whom orphans fall here."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.001)
            os.write(there, str(os.getppid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(here, 20)
    os.close(here)
    os.close(there)
    return int(said)


def show_ourselves():
    """Under a name that the host looks for; it answers with a signal when it has seen us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    libc.prctl(15, ctypes.c_char_p(task['shown'].encode()), 0, 0, 0)
    signal.sigtimedwait([signal.SIGUSR2], 1.0)


report = {'by': 'python', 'machine': platform.machine() if CALLS else None, 'descriptors': descriptors()}
show_ourselves()
reaper = reaper_of()
places = sorted({place for place in [os.getcwd(), os.environ.get('HOME', '/tmp'), os.environ.get('TMPDIR', '/tmp'), '/tmp',
                                     '/var/tmp', '/dev/shm', '/run', '/run/lock'] if os.path.isdir(place)})
report['places'] = {place: write_attempt(place) for place in places}
rooms = {}
for place, outcome in report['places'].items():
    if outcome == 'ok':
        rooms.setdefault(os.stat(place).st_dev, place)
report.update(
    pid=os.getpid(),
    uid=os.getuid(),
    namespaces={one: link_of('/proc/self/ns/' + one) for one in ('pid', 'user', 'net', 'mnt')},
    status=status(),
    environment=environment(),
    reads={path: read_attempt(path) for path in task['reads']},
    plants={folder: plant_attempt(folder) for folder in task['plants']},
    writes={folder: write_attempt(folder) for folder in task['writes']},
    rooms=[room_of(place) for place in rooms.values()],
    longFile={place: long_file(place) for place in rooms.values()},
    core=core(),
    processes=process_list(),
    network=network(),
    families=families(),
    calls=system_calls(),
    nested=nested(),
    rises=rises(),
    devices=devices(),
    survivors={'plain': survivor(False), 'hidden': survivor(True)},
    # Last: whoever can be ended has been.
    others=others(),
)
print(json.dumps({'output': report}))
