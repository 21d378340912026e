"""Keys of caches: what an object is, with the code behind it, and the versions of its packages.

A name is no key. A function that was edited has its old name, and a member of the old function
would be recalled for the new one. So functions and classes that no package brings (those of a
script, a notebook, a module beside it) go into the key by content, with all that they refer to;
those of installed packages go in by name and version.
"""

import ast
import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import site
import sys
import sysconfig
import types
import uuid
from pathlib import Path

from joblib.hashing import NumpyHasher

# Their versions are in every key.
_ALWAYS = ("certified-ensembles", "numpy", "scipy", "scikit-learn")
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "certified_ensembles": "certified-ensembles"}
# What a class holds beside its content: what Python derives from the rest, and where it stands.
_NOT_CONTENT = {
    *("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__firstlineno__"),
    *("__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__"),
    *("__annotations_cache__", "__abstractmethods__", "__slotnames__", "_abc_impl"),
}
_HEAP_TYPE = 1 << 9  # Python's flag of a class that is not written in C
_CODE = (
    *(types.FunctionType, types.ModuleType, types.CodeType, types.MappingProxyType, type),
    *(property, staticmethod, classmethod, functools.cached_property),
    *(functools._lru_cache_wrapper, types.MemberDescriptorType, types.GetSetDescriptorType),
)


def content_key(*objects):
    """Return a digest of objects, equal in every process where content and code are equal.

    Parameters
    ----------
    *objects : object
        Estimators, rows, labels, or anything else that can be pickled.

    Returns
    -------
    key : str
    """
    return _ContentHasher(_Describer()).hash(objects)


def recipe_of(estimator):
    """Return what decides members apart from rows and seed.

    Parameters
    ----------
    estimator : estimator
        Unfitted, with one seed throughout.

    Returns
    -------
    key : str
        A digest of parameters, code, and the versions of the packages that train members.
    has_own_code : bool
        Whether some of the code is from no installed package: another process may not know it.
    """
    describer = _Describer()
    digest = _ContentHasher(describer).hash(estimator)
    versions = [_version(package) for package in sorted(describer.packages)]
    return content_key(digest, versions), describer.has_own_code


@functools.lru_cache(maxsize=4096)
def _known_version(package, lookup):
    name = _DISTRIBUTIONS.get(package, package)
    try:
        return f"{name} {lookup(name)}"
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(_all_distributions().get(package, [])))
        found = [f"{name} {lookup(name)}" for name in names]
        return (
            " ".join(found) or f"{package} {getattr(sys.modules.get(package), '__version__', '')}"
        )


def _version(package):
    return _known_version(package, importlib.metadata.version)


@functools.cache
def _all_distributions():
    return importlib.metadata.packages_distributions()


# ---------------------------------------------------------------- installed or not


@functools.cache
def _installed_folders():
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(path).resolve() for path in paths if path)


@functools.lru_cache(maxsize=4096)
def _is_installed_file(file):
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _installed_folders())


@functools.lru_cache(maxsize=4096)
def _is_installed(module_name):
    """Say whether a module belongs to Python or to an installed package, whose version tells all.

    An installation that points to a folder of sources does not: they change without a version.
    """
    top = module_name.partition(".")[0]
    if top == "__main__":
        return False
    own = __package__.partition(".")[0]
    if top == own or top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # made by hand, as notebooks and tests do
        return False
    places = [] if spec is None else [*(spec.submodule_search_locations or []), spec.origin]
    return any(place is not None and _is_installed_file(place) for place in places)


def _by_name(thing):
    """Return what a module holds under the name of a function or class, or None."""
    found = sys.modules.get(thing.__module__ or "")
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found


# ---------------------------------------------------------------- content


class _ContentHasher(NumpyHasher):
    """Hash objects as joblib does, but code by its content."""

    def __init__(self, describer):
        super().__init__("sha1")
        self._describer = describer

    def persistent_id(self, obj):
        """Return the text that stands for code; None for all else."""
        return self._describer.code(obj) if isinstance(obj, _CODE) else None

    def save_pers(self, pid):
        """Write the text that stands for code."""
        self.write(pid.encode())

    def save(self, obj):
        """Take a method for its function and what it is bound to, and C functions by name."""
        if isinstance(obj, types.MethodType):
            obj = ("method", obj.__func__, obj.__self__)
        elif isinstance(obj, types.BuiltinFunctionType):
            self._describer.note_package(obj.__module__)
        elif type(obj).__module__.startswith("torch") and _is_tensor(obj):
            obj = _content_of_tensor(obj)
        super().save(obj)


def _is_tensor(obj):
    return isinstance(obj, sys.modules["torch"].Tensor)


def _content_of_tensor(tensor):
    """Return what a tensor is. Its pickle tells where its numbers lie as well."""
    torch = sys.modules["torch"]
    values = tensor.detach().cpu().contiguous()
    kind = type(tensor).__name__, str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad
    # numpy knows the bytes of every type.
    return ("tensor", *kind, values.reshape(-1).view(torch.uint8).numpy())


class _Describer:
    """Describes code, and notes what it meets on the way.

    Attributes
    ----------
    packages : set of str
        Installed packages whose classes and functions are used.
    has_own_code : bool
        Whether any code was described by its content.
    """

    def __init__(self):
        self.packages, self.has_own_code = set(_ALWAYS), False
        self._known, self._begun = {}, set()

    def note_package(self, module_name):
        """Note the installed package to which a module belongs."""
        top = (module_name or "builtins").partition(".")[0]
        if top not in sys.stdlib_module_names and top != "__main__" and _is_installed(module_name):
            self.packages.add(_DISTRIBUTIONS.get(top, top))

    def code(self, obj, names=()):
        """Return a text for a function, a class, or what wraps one.

        Parameters
        ----------
        obj : object
        names : iterable of str, default=()
            Of a module: the attributes that are used.
        """
        key = (id(obj), tuple(names))
        if key in self._begun:  # it refers to itself
            return f"<{type(obj).__name__}>"
        if key not in self._known:
            self._begun.add(key)
            text = repr(self._parts(obj, names))
            self._begun.remove(key)
            self._known[key] = obj, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        return self._known[key][1]

    def value(self, obj):
        """Return a text for anything that code refers to."""
        if isinstance(obj, _CODE):
            return self.code(obj)
        key = (id(obj), None)
        if key in self._begun:
            return f"<{type(obj).__name__}>"
        if key not in self._known:
            self._begun.add(key)
            try:
                text = _ContentHasher(self).hash(obj)
            except Exception:  # it cannot be pickled: what is new every time is never recalled
                text = uuid.uuid4().hex
            self._begun.remove(key)
            self._known[key] = obj, text
        return self._known[key][1]

    def _parts(self, obj, names):
        """Return what a piece of code consists of, made of texts."""
        match obj:
            case types.CodeType():
                return _code_text(obj)
            case types.ModuleType():
                return self._parts_of_module(obj, names)
            case types.MappingProxyType():
                return [(repr(name), self.value(value)) for name, value in obj.items()]
            case property():
                return [self.value(part) for part in (obj.fget, obj.fset, obj.fdel)]
            case staticmethod() | classmethod():
                return type(obj).__name__, self.value(obj.__func__)
            case functools.cached_property():
                return self.value(obj.func)
            case types.MemberDescriptorType() | types.GetSetDescriptorType():
                return obj.__name__
        name = f"{obj.__module__}.{obj.__qualname__}"
        # Some types of the interpreter's own stand nowhere.
        in_c = isinstance(obj, type) and not obj.__flags__ & _HEAP_TYPE
        if _is_installed(obj.__module__ or "__main__") and (in_c or _by_name(obj) is obj):
            for base in obj.__mro__ if isinstance(obj, type) else [obj]:
                self.note_package(base.__module__)
            return name
        self.has_own_code = True
        if isinstance(obj, type):
            return self._parts_of_class(obj)
        if not isinstance(obj, types.FunctionType):
            return self.value(obj.__wrapped__)
        return self._parts_of_function(obj)

    def _parts_of_class(self, cls):
        own = {k: v for k, v in vars(cls).items() if k not in _NOT_CONTENT}
        return (
            [self.value(base) for base in (type(cls), *cls.__bases__)],
            [(name, self.value(own[name])) for name in sorted(own)],
        )

    def _parts_of_function(self, function):
        code, space = function.__code__, function.__globals__
        used, attributes, imported = _names_of(code)
        globals_ = [
            (name, self.code(space[name], attributes))
            if isinstance(space[name], types.ModuleType)
            else (name, self.value(space[name]))
            for name in used
            if name in space
        ]
        given = (function.__defaults__, function.__kwdefaults__, vars(function))
        return (
            _code_text(code),
            [self.value(part) for part in given],
            [self._cell(cell) for cell in function.__closure__ or ()],
            globals_,
            [self._sources(name) for name in imported],
            self._sources(space.get("__package__")) if "" in imported else "",
        )

    def _cell(self, cell):
        try:
            return self.value(cell.cell_contents)
        except ValueError:  # of a name that has no value yet
            return "empty"

    def _parts_of_module(self, module, names):
        name = module.__name__
        if _is_installed(name):
            self.note_package(name)
            return name
        if not names:
            return self._sources(name)
        inner = [(n, getattr(module, n)) for n in names if hasattr(module, n)]
        return [
            (n, self.code(v, names) if isinstance(v, types.ModuleType) else self.value(v))
            for n, v in inner
        ]

    def _sources(self, module_name, begun=None):
        """Return a text for a module that code imports when it runs, or for what it comes from."""
        begun = set() if begun is None else begun
        top = (module_name or "").partition(".")[0]
        if top in begun or not top or top == "__main__":
            return top
        begun.add(top)
        self.note_package(top)
        if _is_installed(top):
            return top
        parts = [top]
        for path in _source_files(top):
            source = path.read_bytes()
            parts.append(hashlib.sha1(source, usedforsecurity=False).hexdigest())
            parts += [self._sources(name, begun) for name in _imports_of(source)]
        return repr(parts)


def _code_text(code):
    """Return a text for compiled code, without the places of its lines."""
    return repr(
        (
            *(code.co_code, code.co_exceptiontable, code.co_flags, code.co_names),
            *(code.co_varnames, code.co_freevars, code.co_cellvars),
            *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            _constant_text(code.co_consts),
        )
    )


def _constant_text(constant):
    if isinstance(constant, types.CodeType):
        return _code_text(constant)
    if isinstance(constant, tuple | frozenset):
        texts = list(map(_constant_text, constant))
        # A set has another order in every process.
        return repr(
            (type(constant).__name__, texts if isinstance(constant, tuple) else sorted(texts))
        )
    return repr(constant)


def _names_of(code):
    """Return the globals, attributes and imported modules that code names, nested code too."""
    used, attributes, imported, waiting = {}, {}, {}, [code]
    while waiting:
        code = waiting.pop()
        waiting += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                used[step.argval] = None
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
                attributes[step.argval] = None
            elif step.opname == "IMPORT_NAME":
                imported[step.argval] = None
    return used, tuple(attributes), imported


def _source_files(top):
    """Return the files of a module or of a package, sorted."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    if folders:
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def _imports_of(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # an extension module
        return []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return sorted(names)
