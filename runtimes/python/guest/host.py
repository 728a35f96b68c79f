"""The host of one plugin that was written for Dispatcharr: a program that stays, and does what it is told in frames.

How it works
------------
Frames are JSON objects, one a line; docs/WIRE.md lists them. They come on descriptor 0 and leave on descriptor 1, but
only until this program starts: then both are moved to numbers that only the Wire knows, 0 becomes empty and 1 leads
to where 2 does. So whatever a plugin prints, in whichever way, is never taken for a frame.

Three kinds of threads are ours. The main thread imports the plugin, as it would be imported by its application, and
then is there for signals alone. The reader takes frames, and never waits for the plugin: it starts a thread for each run,
tells runs that they are to end, and hands out answers. It ends the process when there is nobody left to read from.
Everything else is a thread of a run, or of the plugin's own.

What is logged says which run it belongs to: a run is known by a context variable, and threads that are started in one
remember it. sys.stdout and sys.stderr cut what is written into lines; loggers send records as they are.

A plugin is not an enemy in here. What it may do to the machine is decided outside of this process, and what this
process says is not believed there. But it may be careless: it prints, exits, forks, replaces what it finds, never
returns. None of that may end the host or spoil a frame. Hence what is used after the start is imported by name; all
that runs code of the plugin is `attempt`; and a child that a plugin has forked has no way to the wire.

In the order of this file: values as JSON, the wire, runs, what is logged, loading, the host itself, the module
`isopod`, and what stands in for names of the application (the shim).
"""
from __future__ import annotations

import atexit
import importlib
import importlib.machinery
import importlib.util
import io
import itertools
import logging
import os
import re
import signal
import sys
import threading
import traceback
from contextlib import ContextDecorator
from contextvars import ContextVar
from datetime import date, datetime, time, timedelta, timezone
from functools import update_wrapper, wraps
from json import JSONEncoder, loads
from os import _exit, getpid, read, write
from queue import Empty, SimpleQueue
from threading import Event, RLock, Thread, current_thread, get_ident
from time import thread_time
from types import ModuleType, SimpleNamespace

TEXT_MOST = 65_536  # characters of one line in the log, of a message, of a traceback
TOLD_MOST = 1_000_000  # bytes of what is told beside the output of runs
PORTRAIT_MOST = 500_000  # bytes of what the plugin says of itself
TASKS_MOST = 256
NAME_MOST = 256  # characters of what is named on the wire
ANSWER_WITHIN = 60  # seconds
EXIT_WITHIN = 2  # seconds for what the plugin wants done at the end of the process
LOGGER = 'apps.plugins.loader'  # the name that plugins know their logger by
PORTRAIT = ('name', 'version', 'description', 'author', 'help_url', 'fields', 'actions')


# --- Values as JSON ---------------------------------------------------------------------------------------------------


class Encoder(JSONEncoder):
    """What JSON has no word for becomes what the REST framework of the application makes of it."""

    def default(self, value):
        if is_a(value, 'django.utils.functional', 'Promise'):
            return str(value)
        if isinstance(value, datetime):
            text = value.isoformat()
            return text[:-6] + 'Z' if text.endswith('+00:00') else text
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, time):
            if value.utcoffset() is not None:
                raise ValueError('JSON has no times with a time zone')
            return value.isoformat()
        if isinstance(value, timedelta):
            return str(value.total_seconds())
        if is_a(value, 'decimal', 'Decimal'):
            return float(value)
        if is_a(value, 'uuid', 'UUID'):
            return str(value)
        if is_a(value, 'django.db.models.query', 'QuerySet'):
            return tuple(value)
        if isinstance(value, bytes):
            return value.decode()
        if hasattr(value, 'tolist'):
            return value.tolist()
        if hasattr(value, '__getitem__'):
            try:
                return dict(value)
            except Exception:
                raise TypeError(f'{type(value).__name__} is not JSON') from None
        if hasattr(value, '__iter__'):
            return tuple(value)
        raise TypeError(f'{type(value).__name__} is not JSON')


encode = Encoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode
encode_plainly = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode


def is_a(value, module, name):
    """Whether it is of a class that may never have been loaded; there are no values of such a class then."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def utf8(text):
    """Half characters can stand in JSON by their number only, and only where a string is."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return re.sub('[\ud800-\udfff]', lambda half: f'\\u{ord(half[0]):04x}', text).encode()


ENCODER = JSONEncoder.iterencode.__code__.co_filename
LEFT_OUT = object()


def presentable(value, depth=8):
    """What of it can be told as JSON; LEFT_OUT where nothing can."""
    try:
        return loads(encode(value))
    except Exception:
        if depth == 0:
            return LEFT_OUT
    if isinstance(value, dict):
        told = {str(key): presentable(one, depth - 1) for key, one in value.items()}
        return {key: one for key, one in told.items() if one is not LEFT_OUT}
    if isinstance(value, (list, tuple)):
        told = [presentable(one, depth - 1) for one in value]
        return [one for one in told if one is not LEFT_OUT]
    return LEFT_OUT


def telling(what, value, encode=encode):
    """The JSON of something that is told beside the output of runs."""
    text = encode(value)
    if len(utf8(text)) > TOLD_MOST:
        raise ValueError(f'{what} would have more than {TOLD_MOST} bytes as JSON')
    return text


def cut(text, most=TEXT_MOST):
    return text if len(text) <= most else text[:most] + '…'


# --- The wire ---------------------------------------------------------------------------------------------------------


class Wire:
    """Where frames come from and go to. Whoever writes waits while nobody reads."""

    def __init__(self, source, sink):
        self._source = source
        self._sink = sink
        # Collecting garbage while we write may run code of the plugin, which may print.
        self._lock = RLock()
        self._ids = itertools.count(1)
        self._waiting = {}

    @classmethod
    def take(cls):
        """Moves both ends out of the way of everything else in this process, and of its children."""
        wire = cls(os.dup(0), os.dup(1))
        os.set_blocking(wire._source, True)
        os.set_blocking(wire._sink, True)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return wire

    def frames(self):
        """All that come, until nobody is left to send one. What is no frame is told and passed over."""
        parts = []
        while True:
            try:
                chunk = read(self._source, 262_144)
            except OSError:
                return
            if not chunk:
                return
            *ended, rest = chunk.split(b'\n')
            for piece in ended:
                line = b''.join([*parts, piece])
                parts = []
                try:
                    frame = loads(line)
                    frame['t']
                except Exception as error:
                    self.log('error', f'Something came that is not a frame: {error}')
                else:
                    yield frame
            parts.append(rest)

    def send(self, frame, **parts):
        """`parts` belong to the frame too, and are JSON already."""
        if self._sink is None:
            raise RuntimeError('This process was forked from the plugin, and has no way to the host')
        text = encode_plainly(frame)[:-1] + ''.join(f',"{name}":{part}' for name, part in parts.items()) + '}'
        data = utf8(text) + b'\n'
        try:
            with self._lock:
                # In one call, as an exception that is raised in this thread from outside can come between two.
                written = write(self._sink, data)
                while written < len(data):
                    written += write(self._sink, data[written:])
        except OSError:
            _exit(0)

    def log(self, level, text):
        text = cut(text)
        if self._sink is None:
            write(2, text.encode(errors='backslashreplace') + b'\n')
        else:
            self.send({'t': 'log', 'run': run_id(), 'level': level, 'text': text})

    def ask(self, what, **parts):
        """What it is answered, from whichever thread; RuntimeError where it is refused."""
        id = next(self._ids)
        answers = self._waiting[id] = SimpleQueue()
        try:
            self.send({'t': 'ask', 'id': id, 'run': run_id(), 'what': what}, **parts)
            answer = answers.get(timeout=ANSWER_WITHIN)
        except Empty:
            raise RuntimeError(f'There was no answer within {ANSWER_WITHIN} seconds') from None
        finally:
            self._waiting.pop(id, None)
        if 'error' in answer:
            raise RuntimeError(answer['error'])
        return answer['ok']

    def answered(self, frame):
        answers = self._waiting.get(frame['id'])
        if answers is not None:
            answers.put(frame)

    def forget(self):
        """In a forked child: the other end is not its business, and who held the lock is not there."""
        if self._sink is not None:
            os.close(self._source)
            os.close(self._sink)
        self._source = self._sink = None
        self._lock = RLock()
        self._waiting = {}

    @property
    def is_forked(self):
        return self._sink is None


# --- Runs -------------------------------------------------------------------------------------------------------------


class Cancelled(BaseException):
    """Raised in a run that is to end; a plugin may raise it too, when it has seen that."""


class Run:
    """One run, from when it is asked for until its result is known."""

    def __init__(self, id):
        self.id = id
        self.asked = Event()
        self.listens = False
        self.over = False
        self.progress = None
        self._lock = RLock()
        self._ident = None
        self._interrupted = False
        self._is_safe = False

    def begin(self):
        with self._lock:
            self._ident = get_ident()
            if self._interrupted:
                self._interrupted = False
                raise Cancelled

    def interrupt(self):
        with self._lock:
            if self._is_safe:
                return
            if self._ident is not None:
                raise_in(self._ident, Cancelled)
            self._interrupted = True

    def secure(self):
        """From here on nothing is raised in it from outside: its result is on the way."""
        while not self._is_safe:
            try:
                with self._lock:
                    self._is_safe = True
                    if self._interrupted:
                        raise_in(self._ident, None)
            except Cancelled:
                pass


RUN = ContextVar('isopod_run', default=None)


def current():
    """The run that this thread belongs to, which may be over."""
    return RUN.get() or getattr(current_thread(), 'isopod_run', None)


def run_id():
    run = current()
    return None if run is None or run.over else run.id


def raise_in(ident, kind):
    """Raises it in a thread, once that is back from whatever it waits for. None takes back what was not raised yet."""
    import ctypes  # not everywhere, and seldom needed

    target = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), target)


def remember_runs_in_threads():
    start = Thread.start

    @wraps(start)
    def starting(self):
        self.isopod_run = current()
        return start(self)

    Thread.start = starting


# --- What is logged ---------------------------------------------------------------------------------------------------


class LineWriter(io.TextIOBase):
    """sys.stdout or sys.stderr. A line is that of one thread, however many write at once."""

    encoding = 'utf-8'
    errors = 'backslashreplace'

    def __init__(self, wire, level, descriptor):
        self._wire = wire
        self._level = level
        self._descriptor = descriptor
        self._thread = threading.local()
        self.buffer = open(descriptor, 'wb', buffering=0, closefd=False)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f'write() argument must be str, not {type(text).__name__}')
        *ended, rest = text.split('\n')
        begun = getattr(self._thread, 'begun', '')
        for piece in ended:
            self._wire.log(self._level, begun + piece)
            begun = ''
        # One more than is told, so that one sees that there was more.
        self._thread.begun = (begun + rest)[: TEXT_MOST + 1]
        return len(text)

    def end_line(self):
        if getattr(self._thread, 'begun', ''):
            self.write('\n')

    def fileno(self):
        return self._descriptor

    def writable(self):
        return True

    def reconfigure(self, **_):
        """It takes all text, and tells a line when it is whole."""

    def close(self):
        """Whoever closes it means a file; the log stays."""


class Journal(logging.Handler):
    """Records of loggers, whole, with the traceback of what they are about."""

    def __init__(self, wire):
        super().__init__()
        self._wire = wire

    def emit(self, record):
        try:
            self._wire.log(level_of(record.levelno), self.format(record))
        except Exception:
            self.handleError(record)


def level_of(number):
    levels = ((logging.ERROR, 'error'), (logging.WARNING, 'warning'), (logging.INFO, 'info'), (logging.DEBUG, 'debug'))
    return next((level for least, level in levels if number >= least), 'trace')


def lead_loggers(journal):
    """Done again after Django has set up its own. What the plugin itself logs is all told, what libraries do is not."""
    root, own = logging.getLogger(), logging.getLogger(LOGGER)
    for logger in (root, own):
        if journal not in logger.handlers:
            logger.addHandler(journal)
    if root.level in (logging.NOTSET, logging.WARNING):
        root.setLevel(logging.INFO)
    own.setLevel(logging.DEBUG)
    own.propagate = False
    own.disabled = False


def words_of(error):
    try:
        return cut(str(error))
    except BaseException as another:
        return f'<{type(another).__name__} while it was made into text>'


def traceback_of(error):
    """From the first line of the plugin's own code on: how we came there is of no interest to anybody."""
    trace = error.__traceback__
    while trace is not None and is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def is_ours(file):
    return file in (is_ours.__code__.co_filename, ENCODER) or file.startswith('<frozen importlib')


def stack_of(error):
    try:
        text = ''.join(traceback.format_exception(type(error), error, traceback_of(error))).rstrip()
    except BaseException:
        return ''
    half = TEXT_MOST // 2
    return text if len(text) <= TEXT_MOST else text[:half] + '\n…\n' + text[-half:]


def described(error, kind, **more):
    """A GuestError."""
    name = type(error).__name__
    # Of what went wrong outside of the plugin's code, where it did is nobody's business.
    stack = '' if traceback_of(error) is None else stack_of(error)
    return {'kind': kind, 'name': name, 'message': words_of(error), 'stack': stack, **more}


def kind_of(error):
    if isinstance(error, PermissionError):
        return 'permission'
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return 'exit'
    return 'missing' if isinstance(error, Missing) else 'error'


class Missing(AttributeError):
    """The plugin has not what it is asked for."""

    __module__ = 'builtins'  # so that it is told without


# --- Loading a plugin -------------------------------------------------------------------------------------------------


class Package:
    """The code of a plugin, under the names that its application gives it."""

    def __init__(self, key, folder):
        clean = re.sub('[^0-9A-Za-z_]', '_', key)
        self.name = '_dispatcharr_plugin_' + ('p_' + clean if clean[:1].isdigit() else clean)
        self.folder = folder
        own = os.path.basename(folder)
        self._alias = own if re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', own) and not self._is_reserved(own) else None

    def load(self):
        """Its class: that of plugin.py, or of the package where that has none."""
        trouble = None
        for load in (self._load_file, self._load_package):
            try:
                found = getattr(load(), 'Plugin', None)
                if found is not None:
                    return found
            except Exception as error:
                trouble = error
        raise Missing('No Plugin class found') if trouble is None else trouble

    def _load_file(self):
        """plugin.py in a package that is made up, so that it may import what lies beside it; __init__.py is not run."""
        file = os.path.join(self.folder, 'plugin.py')
        if not os.path.isfile(file):
            return None
        package = ModuleType(self.name)
        package.__path__ = [self.folder]
        package.__package__ = self.name
        spec = importlib.util.spec_from_file_location(self.name + '.plugin', file)
        module = importlib.util.module_from_spec(spec)
        package.plugin = module
        self._run(module, {'': package, '.plugin': module})
        return module

    def _load_package(self):
        file = os.path.join(self.folder, '__init__.py')
        if not os.path.isfile(file):
            return None
        spec = importlib.util.spec_from_file_location(self.name, file, submodule_search_locations=[self.folder])
        module = importlib.util.module_from_spec(spec)
        self._run(module, {'': module})
        return module

    def _run(self, module, modules):
        names = [name for name in (self.name, self._alias) if name is not None]
        entered = {name + ending: one for name in names for ending, one in modules.items()}
        sys.modules.update(entered)
        try:
            module.__spec__.loader.exec_module(module)
        except BaseException:
            for name in entered:
                sys.modules.pop(name, None)
            raise

    def _is_reserved(self, name):
        """Whether it is the name of something else that can be imported."""
        try:
            spec = None if name in sys.modules else importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return True
        if spec is None:
            return name in sys.modules
        places = [spec.origin or '', *(spec.submodule_search_locations or ())]
        return not any(place == self.folder or place.startswith(self.folder + os.sep) for place in places)


# --- The host ---------------------------------------------------------------------------------------------------------


class Host:
    """Does what the frames say, with the one plugin that there is."""

    def __init__(self, wire):
        self._wire = wire
        self._logger = logging.getLogger(LOGGER)
        self._journal = Journal(wire)
        self._plain = (sys.__stdout__, sys.__stderr__)
        self._streams = (LineWriter(wire, 'info', 1), LineWriter(wire, 'warning', 2))
        self._key = ''
        self._instance = None
        self._tasks = Tasks()
        self._runs = {}
        self._stopping = Event()
        self._after_run = None

    def settle(self):
        """Takes its place in the process, before there is a plugin."""
        for stream in self._plain:
            stream.reconfigure(encoding='utf-8', errors='backslashreplace', line_buffering=True)
        current_thread().is_of_the_host = True
        sys.stdout, sys.stderr = self._streams
        lead_loggers(self._journal)
        threading.excepthook = self._thread_died
        remember_runs_in_threads()
        shelter_from_signals(self._wire)
        os.register_at_fork(after_in_child=self._forked)
        sys.modules['isopod'] = isopod_module(self._wire, self._stopping)

    def read(self, frames):
        self._begin(self._read, frames, name='isopod-reader')

    def boot(self, frame):
        self._key = frame['key']
        instance, error = self.attempt(lambda: self._load(frame))
        if error is not None:
            self._end_lines()
            self._wire.send({'t': 'failed', 'error': described(error, kind_of(error))})
            _exit(1)
        self._instance = instance
        version = '.'.join(map(str, sys.version_info[:3]))
        ready = {'t': 'ready', 'tasks': list(self._tasks)[:TASKS_MOST], 'language': f'Python {version}'}
        runs, portrait = callable(self._get('run')), self._portrait()
        self._end_lines()
        self._wire.send({**ready, 'runs': runs, 'portrait': portrait})

    def attempt(self, call):
        """Code of the plugin: what it returns and None, or None and what it has raised."""
        try:
            value, error = call(), None
        except BaseException as raised:
            value, error = None, raised
        if self._wire.is_forked:
            self._leave_child(error)
        return value, error

    # Loading

    def _load(self, frame):
        if frame['django'] is not None:
            os.environ['DJANGO_SETTINGS_MODULE'] = frame['django']['settingsModule']
            importlib.import_module('django').setup()
            lead_loggers(self._journal)
            self._after_run = importlib.import_module('django.db').close_old_connections
        elif frame['shim'] == 'on':
            sys.meta_path.insert(0, Shim(self._wire, self._tasks, frame))
        # Looked up before the folder beside its own can be imported from.
        package = Package(frame['key'], frame['dir'])
        if frame['pluginsDir'] not in sys.path:
            sys.path.append(frame['pluginsDir'])
        return package.load()()

    def _get(self, name):
        """An attribute of the plugin, which may be code of its own."""
        value, error = self.attempt(lambda: getattr(self._instance, name, None))
        if error is not None:
            self._wire.log('error', f'The attribute {name} cannot be read.\n{stack_of(error)}')
        return value

    def _portrait(self):
        portrait = {}
        for name in PORTRAIT:
            value = self._get(name)
            told, error = self.attempt(lambda: presentable(value))
            portrait[name] = None if error is not None or told is LEFT_OUT else told
            if len(utf8(encode(portrait))) > PORTRAIT_MOST:
                self._wire.log('error', f'The attribute {name} is too large to be told')
                portrait[name] = None
        return portrait

    # Frames

    def _read(self, frames):
        takes = {
            'run': lambda frame: self._start(frame, lambda: self._run_action(frame)),
            'task': lambda frame: self._start(frame, lambda: self._run_task(frame)),
            'cancel': self._cancel,
            'stop': lambda frame: self._begin(self._stop, frame, name='isopod-stop'),
            'look': self._look,
            'answer': self._wire.answered,
        }
        for frame in frames:
            try:
                takes[frame['t']](frame)
            except Exception as error:
                self._wire.log('error', f'A frame could not be dealt with: {type(error).__name__}: {error}')
        _exit(0)

    def _begin(self, work, *args, name):
        thread = Thread(target=work, args=args, name=name, daemon=True)
        thread.is_of_the_host = True
        thread.start()

    def _start(self, frame, call):
        run = self._runs[frame['id']] = Run(frame['id'])
        try:
            self._begin(self._work, run, call, frame['outputBytes'], name=f'isopod-run-{run.id}')
        except Exception as error:
            del self._runs[run.id]
            told = described(error, 'error')
            self._wire.send({'t': 'result', 'id': run.id, 'cpuMs': 0, 'listens': False, 'error': told})

    def _cancel(self, frame):
        run = self._runs.get(frame['id'])
        if run is None:
            return
        run.asked.set()
        if frame['how'] == 'interrupt':
            try:
                run.interrupt()
            except ImportError:
                self._wire.log('error', 'This Python has no ctypes, without which a run cannot be interrupted')

    def _look(self, frame):
        threads = [one for one in threading.enumerate() if not getattr(one, 'is_of_the_host', False)]
        self._wire.send({'t': 'look', 'id': frame['id'], 'threads': len(threads), 'children': count_children()})

    # Runs

    def _run_action(self, frame):
        run = getattr(self._instance, 'run', None)
        if not callable(run):
            raise Missing(f"Plugin '{self._key}' has no runnable 'run' method")
        return run(frame['action'], frame['params'] or {}, self._context(frame))

    def _run_task(self, frame):
        return self._tasks[frame['name']](*frame['args'], **frame['kwargs'])

    def _context(self, frame, **more):
        return {'settings': frame['settings'], 'logger': self._logger, 'actions': frame['actions'], **more}

    def _work(self, run, call, most):
        """The thread of a run. It has one result, whatever happens in it."""
        began = thread_time()
        try:
            RUN.set(run)
            run.begin()
            outcome = self._outcome(run, call, most)
            run.secure()
        except BaseException as late:
            run.secure()
            kind = 'cancelled' if isinstance(late, Cancelled) else kind_of(late)
            outcome = {'error': encode_plainly(described(late, kind))}
        if self._after_run is not None:
            _, error = self.attempt(self._after_run)
            if error is not None:
                self._wire.log('error', stack_of(error))
        self._end_lines()
        run.over = True
        self._runs.pop(run.id, None)
        cpu = (thread_time() - began) * 1000
        self._wire.send({'t': 'result', 'id': run.id, 'cpuMs': round(cpu, 3), 'listens': run.listens}, **outcome)

    def _outcome(self, run, call, most):
        """What a result has beside its numbers, as JSON."""
        value, error = self.attempt(call)
        if error is None:
            answer = value if isinstance(value, dict) else {'status': 'ok', 'result': value}
            # What it returned may still run code of its own: generators do.
            text, error = self.attempt(lambda: utf8(encode(answer)))
            if error is None:
                size = len(text)
                if size <= most:
                    # As text: whoever reads the frame would make other numbers of some.
                    return {'output': encode_plainly(text.decode())}
                error = ValueError(f'What it returned has {size} bytes as JSON, and may have {most}')
                return {'error': encode_plainly(described(error, 'too_large', bytes=size))}
            kind = 'unserialisable' if isinstance(error, Exception) else kind_of(error)
        elif isinstance(error, UnknownTask):
            kind = 'unknown_task'
        elif isinstance(error, TypeError) and traceback_of(error) is None:
            kind = 'arity'
        else:
            kind = kind_of(error)
        if isinstance(error, Cancelled) and run.asked.is_set():
            kind = 'cancelled'
        return {'error': encode_plainly(described(error, kind))}

    def _end_lines(self):
        for stream in self._streams:
            stream.end_line()

    # The end

    def _stop(self, frame):
        self._stopping.set()
        context = self._context(frame, reason=frame['reason'])
        stop = self._get('stop')
        called, error = None, None
        if callable(stop):
            called = 'stop'
            _, error = self.attempt(lambda: call_stop(stop, context))
        elif 'stop' in frame['actions'] and callable(self._get('run')):
            called = 'run'
            _, error = self.attempt(lambda: self._instance.run('stop', {}, context))
        if error is not None:
            self._wire.log('error', f'It has not stopped well.\n{stack_of(error)}')
        self._end_lines()
        self.attempt(self._run_exit_functions)
        told = None if error is None else described(error, kind_of(error))
        self._wire.send({'t': 'stopped', 'called': called, 'error': told})
        _exit(0)

    def _run_exit_functions(self):
        """The interpreter would run them when it ends, and wait for them as long as they like."""
        done = Event()

        def work():
            self.attempt(atexit._run_exitfuncs)
            self._end_lines()
            done.set()

        self._begin(work, name='isopod-exit')
        done.wait(EXIT_WITHIN)

    def _thread_died(self, args):
        if args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread is not None else 'unknown'
        self._wire.log('error', f'Exception in thread {name}\n{stack_of(args.exc_value)}')

    # Forked children

    def _forked(self):
        self._wire.forget()
        signal.set_wakeup_fd(-1)
        sys.stdout, sys.stderr = self._plain

    def _leave_child(self, error):
        """It has come back from the plugin's code into ours, which is the parent's to go on with."""
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            self._wire.log('error', stack_of(error))
            code = 1
        for stream in self._plain:
            stream.flush()
        _exit(code & 255)


def shelter_from_signals(wire):
    """Handlers run in the main thread, which only waits for them: what they raise there is of no use to anybody."""
    install = signal.signal

    @wraps(install)
    def installing(number, handler):
        def handling(*args):
            try:
                handler(*args)
            except BaseException as error:
                if wire.is_forked:
                    raise
                wire.log('warning', f'{type(error).__name__} was raised at a signal, and ends nothing')

        return install(number, handling if callable(handler) else handler)

    signal.signal = installing
    installing(signal.SIGINT, signal.default_int_handler)


def handle_signals():
    """For ever. The main thread has to be woken for that, as a signal may interrupt any other."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    while True:
        read(woken, 512)


class UnknownTask(Exception):
    """No function was marked with this name."""

    __module__ = 'builtins'


class Tasks(dict):
    def __missing__(self, name):
        raise UnknownTask(f'There is no task {name}')


def call_stop(stop, context):
    try:
        return stop(context)
    except TypeError:
        # It may be one that takes nothing. Where it is another fault, this shows both.
        return stop()


def count_children():
    """Those that are alive."""
    count = 0
    try:
        for task in os.listdir('/proc/self/task'):
            with open(f'/proc/self/task/{task}/children') as file:
                count += sum(map(is_alive, file.read().split()))
    except OSError:
        pass
    return count


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


# --- The module `isopod`, for plugins that know where they run --------------------------------------------------------


def isopod_module(wire, stopping):
    def its_event():
        """What is set when the current thread is to end: with its run, or with the plugin."""
        run = current()
        if run is None or (run.over and not run.asked.is_set()):
            return stopping
        run.listens = True
        return run.asked

    def cancelled():
        """Whether this run is to end; outside of runs, whether the plugin is."""
        return its_event().is_set()

    def wait(seconds):
        """Sleeps, but not longer than until this run is to end. Whether it is."""
        return its_event().wait(seconds)

    def progress(value):
        """How far this run is, from 0 to 1."""
        value = round(min(1.0, max(0.0, float(value))), 3)
        run = current()
        if run is not None and not run.over and not wire.is_forked and run.progress != value:
            run.progress = value
            wire.send({'t': 'progress', 'run': run.id, 'value': value})

    module = ModuleType('isopod', 'The host that this plugin runs in.')
    vars(module).update(cancelled=cancelled, wait=wait, progress=progress, Cancelled=Cancelled)
    return module


# --- The shim: names of the application that plugins use, where the application is not there --------------------------


NOT_HERE = 'this host is not Dispatcharr and does not have it; nothing was done'
ROOTS = ('apps', 'celery', 'core', 'django', 'version')


class Shim:
    """Finds the few modules that something stands in for, and says of all others that they are not here."""

    def __init__(self, wire, tasks, boot):
        self._modules = {
            'apps': {},
            'apps.plugins': {},
            'apps.plugins.models': {'PluginConfig': plugin_config(wire)},
            'celery': {'shared_task': shared_task(wire, tasks)},
            'core': {},
            'core.utils': {'send_websocket_update': websocket_update(wire)},
            'django': {},
            'django.db': database(),
            'django.db.transaction': {'atomic': atomic, 'on_commit': on_commit},
            'django.utils': {},
            'django.utils.timezone': time_zones(),
            'version': {'__version__': boot['version']},
        }

    def find_spec(self, name, path=None, target=None):
        root = name.partition('.')[0]
        if root not in ROOTS:
            return None
        if name not in self._modules:
            # The name of the root, as an import of one name out of many passes over a missing module of just that name.
            raise ModuleNotFoundError(f"No module named '{name}': {NOT_HERE}", name=root)
        return importlib.machinery.ModuleSpec(name, self, origin='isopod', is_package=True)

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        vars(module).update(self._modules[module.__name__])


class StandIn(ModuleType):
    """Each is a package: what is imported out of it and is not in it is looked for as a module, and Shim says no."""

    def __getattr__(self, name):
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}': {NOT_HERE}")


class Partial:
    """Something of which only a part is here."""

    def __getattr__(self, name):
        raise AttributeError(f"{type(self).__name__} has no '{name}': {NOT_HERE}")


def websocket_update(wire):
    def send_websocket_update(group_name, event_type, data, collect_garbage=False):
        text = telling('The data of an update', data)
        group, event = cut(str(group_name), NAME_MOST), cut(str(event_type), NAME_MOST)
        wire.send({'t': 'update', 'run': run_id(), 'group': group, 'event': event}, data=text)

    return send_websocket_update


# Functions that run as jobs


def shared_task(wire, tasks):
    def marking(function=None, *, name=None, bind=False, **options):
        if function is None:
            return lambda function: marking(function, name=name, bind=bind, **options)
        name = name or f'{function.__module__}.{function.__name__}'
        if not isinstance(name, str) or len(name) > NAME_MOST:
            raise ValueError(f'The name of a task is text of at most {NAME_MOST} characters')
        task = Task(wire, function, name, bind)
        say_without_effect(f'shared_task({task.name})', options)
        tasks[task.name] = task
        return task

    marking.__name__ = 'shared_task'
    return marking


class Task(Partial):
    """Called, it is the function. What is delayed becomes a job of this host, perhaps in another process than this."""

    def __init__(self, wire, function, name, bind):
        update_wrapper(self, function)
        self.name = name
        self.run = function.__get__(self) if bind else function
        self._wire = wire

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)

    @property
    def request(self):
        id = run_id()
        return SimpleNamespace(id=None if id is None else str(id))

    def delay(self, *args, **kwargs):
        return self.apply_async(args, kwargs)

    def apply_async(self, args=None, kwargs=None, countdown=None, eta=None, **options):
        say_without_effect(f'apply_async of {self.name}', options)
        try:
            args, kwargs = list(args or ()), dict(kwargs or {})
            telling('They', [args, kwargs], encode_plainly)
        except (TypeError, ValueError) as error:
            raise TypeError(f'The arguments of task {self.name} must be JSON: {error}') from None
        delay = max(0, round(seconds_until(countdown, eta) * 1000))
        wish = {'task': self.name, 'args': args, 'kwargs': kwargs, 'delayMs': delay}
        return AsyncResult(self._wire.ask('enqueue', **{name: encode_plainly(one) for name, one in wish.items()}))

    def s(self, *args, **kwargs):
        return Signature(self, args, kwargs, takes_more=True)

    def si(self, *args, **kwargs):
        return Signature(self, args, kwargs, takes_more=False)


class Signature(Partial):
    """A task with arguments. Those that come later stand before them."""

    def __init__(self, task, args, kwargs, takes_more):
        self.task, self.args, self.kwargs, self.takes_more = task, args, kwargs, takes_more

    def __call__(self, *args, **kwargs):
        args, kwargs = self._with(args, kwargs)
        return self.task(*args, **kwargs)

    def delay(self, *args, **kwargs):
        return self.apply_async(args, kwargs)

    def apply_async(self, args=None, kwargs=None, **options):
        return self.task.apply_async(*self._with(args or (), kwargs or {}), **options)

    def _with(self, args, kwargs):
        return ((*args, *self.args), {**self.kwargs, **kwargs}) if self.takes_more else (self.args, self.kwargs)


class AsyncResult(Partial):
    """Which job it is. What becomes of it is not told to the plugin."""

    def __init__(self, id):
        self.id = self.task_id = id

    def __str__(self):
        return self.id


def seconds_until(countdown, eta):
    if eta is None:
        return countdown or 0
    return ((eta if eta.tzinfo else eta.replace(tzinfo=timezone.utc)) - datetime.now(timezone.utc)).total_seconds()


def say_without_effect(what, options):
    if options:
        logging.getLogger(LOGGER).warning('%s: %s has no effect on this host', what, ', '.join(options))


# The row of the plugin itself


def plugin_config(wire):
    """The class, as plugins import it. There are no rows but their own."""

    class DoesNotExist(Exception):
        pass

    class PluginConfig(Partial):
        def __init__(self):
            self.refresh_from_db()

        def refresh_from_db(self, using=None, fields=None):
            row = wire.ask('config')
            row['ever_enabled'] = row.pop('everEnabled', True)
            self._stored = {name: one for name, one in row.items() if name != 'settings'}
            for name, one in row.items():
                if fields is None or name in fields:
                    setattr(self, name, one)

        def save(self, force_insert=False, force_update=False, using=None, update_fields=None):
            named = {*self._stored, 'settings'} if update_fields is None else {*update_fields}
            others = named - {'settings', 'updated_at'}
            stored = self._stored
            refuse_other({name for name in others if name not in stored or getattr(self, name) != stored[name]})
            if 'settings' in named:
                configure(self.settings)

        def __str__(self):
            return f'{self.name} ({self.key})'

    class Rows(Partial):
        """`filter(key=...)`: the one row, or none."""

        def __init__(self, row):
            self._rows = [] if row is None else [row]

        def __iter__(self):
            return iter(self._rows)

        def __len__(self):
            return len(self._rows)

        def first(self):
            return next(iter(self._rows), None)

        def exists(self):
            return bool(self._rows)

        def count(self):
            return len(self._rows)

        def update(self, **values):
            refuse_other({*values} - {'settings'})
            if self._rows and values:
                configure(values['settings'])
            return len(self._rows)

    class Objects(Partial):
        def get(self, **lookups):
            row = find(lookups)
            if row is None:
                raise DoesNotExist('PluginConfig matching query does not exist.')
            return row

        def filter(self, **lookups):
            return Rows(find(lookups))

        def get_or_create(self, defaults=None, **lookups):
            row = find(lookups)
            if row is None:
                raise PermissionError('A plugin cannot make rows of others; nothing was saved')
            return row, False

    def find(lookups):
        if set(lookups) != {'key'}:
            raise NotImplementedError(f"PluginConfig is looked up by 'key' alone, not by {sorted(lookups)}: {NOT_HERE}")
        row = PluginConfig()
        return row if row.key == lookups['key'] else None

    def configure(settings):
        if not isinstance(settings, dict):
            raise TypeError('The settings of a plugin are a dict; nothing was saved')
        wire.ask('configure', settings=telling('The settings', settings, encode_plainly))

    def refuse_other(names):
        if names:
            others = ', '.join(sorted(names))
            raise PermissionError(f'A plugin changes its settings alone, not {others}; nothing was saved')

    PluginConfig.DoesNotExist = DoesNotExist
    PluginConfig.objects = Objects()
    return PluginConfig


# Django, as far as it can be had without a database


class Atomic(ContextDecorator):
    """There is no transaction that could fail: what is inside is done."""

    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def atomic(using=None, savepoint=True, durable=False):
    return Atomic()(using) if callable(using) else Atomic()


def on_commit(func, using=None, robust=False):
    func()


class Connection(Partial):
    def close(self):
        pass


class Connections(Partial):
    def close_all(self):
        pass


def database():
    return {'close_old_connections': lambda **_: None, 'connection': Connection(), 'connections': Connections()}


def time_zones():
    def zone():
        return timezone.utc

    def now():
        return datetime.now(timezone.utc)

    def is_aware(value):
        return value.utcoffset() is not None

    def is_naive(value):
        return value.utcoffset() is None

    def localtime(value=None, timezone=None):
        value = now() if value is None else value
        if is_naive(value):
            raise ValueError('localtime() cannot be applied to a naive datetime')
        return value.astimezone(timezone or zone())

    def localdate(value=None, timezone=None):
        return localtime(value, timezone).date()

    def make_aware(value, timezone=None):
        if is_aware(value):
            raise ValueError(f'Not naive datetime: {value}')
        place = timezone or zone()
        return place.localize(value) if hasattr(place, 'localize') else value.replace(tzinfo=place)

    def make_naive(value, timezone=None):
        if is_naive(value):
            raise ValueError('make_naive() cannot be applied to a naive datetime')
        return value.astimezone(timezone or zone()).replace(tzinfo=None)

    here = (now, is_aware, is_naive, localtime, localdate, make_aware, make_naive)
    zones = {'get_current_timezone': zone, 'get_default_timezone': zone, 'utc': timezone.utc}
    return {**{one.__name__: one for one in here}, **zones, 'datetime': datetime, 'timedelta': timedelta}


# --- The start --------------------------------------------------------------------------------------------------------


def main():
    wire = Wire.take()
    # Nobody is to import from the folder that this file lies in.
    ours = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.realpath(place) != ours]
    frames = wire.frames()
    boot = next(frames, None)
    if boot is None or boot['t'] != 'boot':
        _exit(0 if boot is None else 2)
    host = Host(wire)
    host.settle()
    host.read(frames)
    host.boot(boot)
    handle_signals()


if __name__ == '__main__':
    main()
