#!/usr/bin/env python3
"""Fails if files of a crate import each other in a circle.

An import is a path that starts with `crate::`, `super::` or `self::`. (`cargo modules dependencies --acyclic` also counts a type
and its own methods as a circle, so its exit code can't be used.)
"""

import pathlib
import re
import sys

PATH = re.compile(r"\b((?:crate|super|self)(?:::\w+)*)::(\{[^;]*?\}|\w+)")
NAME = re.compile(r"\b[a-z_]\w*\b")


def modules(source):
    """Module paths of a crate's files, as tuples."""
    found = {}
    for file in source.rglob("*.rs"):
        parts = list(file.relative_to(source).with_suffix("").parts)
        if parts[-1] in ("lib", "mod"):
            parts.pop()
        if parts != ["main"]:
            found[tuple(parts)] = file
    return found


def code(file):
    """The text of a file without tests and comments."""
    text = file.read_text().split("#[cfg(test)]")[0]
    return re.sub(r"//[^\n]*", "", text)


def imports(module, text, known):
    """The modules that a module imports."""
    for path, rest in PATH.findall(text):
        first, *names = path.split("::")
        base = {"crate": (), "self": module, "super": module[:-1]}[first]
        while names and names[0] == "super":
            base, names = base[:-1], names[1:]
        ends = NAME.findall(rest) if rest.startswith("{") else [rest]
        for end in ends or [""]:
            target = (*base, *names, end)
            while target not in known:
                target = target[:-1]
            # A parent that names its children declares them; that is no import.
            if target != module and target[: len(module)] != module:
                yield target


def circle(graph):
    """One circle of the graph, if there is one."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            path.append(node)
            for target in sorted(graph[node]):
                if found := visit(target):
                    return found
            path.pop()
            done.add(node)
        return None

    for node in graph:
        if found := visit(node):
            return found
    return None


def main():
    failed = False
    for source in sorted(pathlib.Path("crates").glob("*/src")):
        known = modules(source)
        graph = {module: set(imports(module, code(file), known)) for module, file in known.items()}
        if found := circle(graph):
            failed = True
            print(f"{source}: {' -> '.join('::'.join(('crate', *node)) for node in found)}")
    if not failed:
        print("no circle")
    sys.exit(failed)


main()
