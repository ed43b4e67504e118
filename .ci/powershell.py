"""Compares each PowerShell variant in docs/tutorial.md with the bash block before it: PowerShell is parsed by its grammar, and both
must call the same programs with the same arguments. Blocks without a variant must be valid in both shells."""

import pathlib
import re
import sys

import tree_sitter_bash
import tree_sitter_powershell
from tree_sitter import Language, Parser

BASH = Parser(Language(tree_sitter_bash.language()))
POWERSHELL = Parser(Language(tree_sitter_powershell.language()))

# Programs that both shells call. The others are tools of the shell: grep and Select-String, mkdir and New-Item.
PROGRAMS = {"kubectl", "istioctl", "curl", "az", "docker"}


def blocks(text):
    """Pairs of a bash block and its PowerShell variant, which is None if there is none."""
    pairs = []
    for language, body in re.findall(r"^ *```(bash|powershell)\n(.*?)^ *```$", text, re.S | re.M):
        if language == "bash":
            pairs.append([body, None])
        else:
            # The fence is indented, and Markdown takes the indentation away from every line.
            pairs[-1][1] = re.sub(r"^  ", "", body, flags=re.M)
    return pairs


def errors(node):
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from errors(child)


def calls(parser, source):
    """The calls of programs, with normalized arguments, in the order of the text."""
    # The grammar of PowerShell does not know --name=value, which PowerShell passes on as it is.
    source = re.sub(r"(?<= )(--[a-z-]+)=(?=\w)", r"\1 ", source)
    root = parser.parse(source.encode()).root_node
    broken = list(errors(root))
    if broken:
        place = broken[0].start_point
        raise ValueError(f"line {place[0] + 1}, column {place[1] + 1} is not valid:\n{source}")
    found = []

    def walk(node):
        if node.type == "command":
            text = node.text.decode()
            program = text.split()[0]
            # Assignments before a command are part of it in bash.
            while re.match(r"^[A-Z_]+=", program):
                text = text.split(None, 1)[1]
                program = text.split()[0]
            if program in PROGRAMS:
                found.append((node.start_byte, normalized(text)))
        for child in node.children:
            walk(child)

    walk(root)
    return [call for _, call in sorted(found)]


def normalized(text):
    # A here-document and a here-string give kubectl the same patch.
    text = re.sub(r"--patch-file /dev/stdin.*|--patch @\".*", "--patch PATCH", text, flags=re.S)
    # The output of another command, which is compared by itself.
    text = re.sub(r"\$?\(.*?\)(?= |$)", "COMMAND", text)
    # The file of a step in the loop that renders them, and the device that takes everything.
    text = re.sub(r"kustomize/steps/\S+", "STEP", text.split(" > ")[0])
    text = text.replace("/dev/null", "NUL")
    return re.sub(r"[\"']", "", text).split()


def patch(source):
    """The fields of the secret, whose values each shell generates in its own way."""
    return re.findall(r"^ *(\w+):", source, re.M) if "kubectl patch" in source else []


def main():
    page = pathlib.Path(__file__).parent.parent / "docs/tutorial.md"
    pairs = blocks(page.read_text())
    problems, variants = [], 0
    for bash, powershell in pairs:
        try:
            if powershell is None:
                # The same text for both.
                same = calls(POWERSHELL, bash)
                differs = re.search(r"\$\(|<<|\bfor \b|\| (grep|head|sort)|^[A-Z_]+=", bash, re.M)
                if differs or calls(BASH, bash) != same:
                    problems.append(f"needs a PowerShell variant:\n{bash}")
                continue
            variants += 1
            ours, theirs = calls(BASH, bash), calls(POWERSHELL, powershell)
            if ours != theirs or patch(bash) != patch(powershell):
                problems.append(f"differs:\n{bash}{powershell}bash calls       {ours}\nPowerShell calls {theirs}")
        except ValueError as problem:
            problems.append(str(problem))
    print(f"{len(pairs)} blocks, {variants} of them with a PowerShell variant")
    if variants < 10:
        problems.append("variants are missing")
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


main()
