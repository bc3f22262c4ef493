"""What a Bicep compiler would say first of the templates in a folder: syntax, names, and the parameters of modules.

Types and properties of resources it does not know.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pycep
import tree_sitter
import tree_sitter_bicep

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
DECLARATIONS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass
class Template:
    """A parsed file: what it declares, by kind and name, and what is wrong with it."""

    path: Path
    declared: dict = field(default_factory=lambda: {kind: {} for kind in DECLARATIONS.values()})
    problems: list = field(default_factory=list)

    def problem(self, node, what):
        self.problems.append(f"{self.path}:{node.start_point.row + 1}: {what}")

    def required(self):
        """Parameters without a default."""
        return {name for name, node in self.declared["param"].items() if not any(c.type == "=" for c in node.children)}


def text(node):
    return node.text.decode()


def named(node):
    return [child for child in node.named_children if child.type != "comment"]


def literal(node):
    return "".join(text(child) for child in named(node) if child.type == "string_content")


def everything(node):
    yield node
    for child in node.children:
        yield from everything(child)


def read(path):
    template = Template(path)
    root = PARSER.parse(path.read_bytes()).root_node
    # In a parameter file a value stands where the grammar expects a type: the one thing that may be missing there.
    values = path.suffix == ".bicepparam"
    for node in everything(root):
        if node.type == "ERROR" or (node.is_missing and not (values and node.parent.type == "type")):
            template.problem(node, "this cannot be read")
    if not values:
        try:
            pycep.BicepParser().parse(file_path=path)
        except Exception as error:
            template.problem(root, f"the policy scanner would skip this file: {error}")
    for node in named(root):
        if kind := DECLARATIONS.get(node.type):
            name = text(named(node)[0])
            if kind != "output" and any(name in template.declared[other] for other in ("param", "var", "resource", "module")):
                template.problem(node, f"`{name}` is declared twice")
            template.declared[kind][name] = node
    return template


def check_names(template):
    """Every name that is used is declared, and the other way round."""
    values = {name for kind in ("param", "var", "resource", "module") for name in template.declared[kind]}
    used = set()
    for declaration in (node for kind in template.declared.values() for node in kind.values()):
        inner = list(everything(declaration))
        loops = [named(node)[0] for node in inner if node.type == "for_statement"]
        local = {text(node) for loop in loops for node in everything(loop) if not node.children}
        for node in inner[1:]:
            if node.type != "identifier" or node == named(declaration)[0]:
                continue
            is_key = node.parent.type == "object_property" and node == node.parent.named_children[0]
            is_call = node.parent.type == "call_expression" and node == node.parent.named_children[0]
            if is_key or is_call or text(node) in local:
                continue
            used.add(text(node))
            if text(node) not in values:
                template.problem(node, f"`{text(node)}` is not declared")
    for kind in ("param", "var"):
        for name, node in template.declared[kind].items():
            if name not in used:
                template.problem(node, f"`{name}` is not used")


def properties(node):
    """Of the object that a declaration consists of, under its loop and condition."""
    while node.type != "object":
        node = named(node)[-1]
    return {text(named(item)[0]): named(item)[1] for item in named(node) if item.type == "object_property"}


def check_modules(template, templates):
    """Every module is there, gets the parameters it requires and no others, and has the outputs that are asked of it."""
    modules = {}
    for name, node in template.declared["module"].items():
        path = (template.path.parent / literal(named(node)[1])).resolve()
        module = modules[name] = templates.get(path)
        if module is None:
            template.problem(node, f"there is no {path.name}")
            continue
        given = set(properties(properties(node)["params"]))
        for parameter in sorted(module.required() - given):
            template.problem(node, f"`{name}` lacks `{parameter}`")
        for parameter in sorted(given - module.declared["param"].keys()):
            template.problem(node, f"`{name}` has no parameter `{parameter}`")
    for declaration in (node for kind in template.declared.values() for node in kind.values()):
        for node in everything(declaration):
            # <module>.outputs.<output>
            match text(node).replace("!", "").split(".") if node.type == "member_expression" else ():
                case [name, "outputs", output] if modules.get(name):
                    if output not in modules[name].declared["output"]:
                        template.problem(node, f"`{name}` has no output `{output}`")


def check_versions(templates):
    """A type of resource is used in one version only."""
    versions = {}
    for template in templates:
        for node in template.declared["resource"].values():
            kind, version = literal(named(node)[1]).split("@")
            if versions.setdefault(kind, version) != version:
                template.problem(node, f"{kind} is used in the versions {versions[kind]} and {version}")


def check_parameter_file(values, main):
    for parameter in sorted(main.required() - values.declared["param"].keys()):
        values.problems.append(f"{values.path}: `{parameter}` is not set")
    for parameter in sorted(values.declared["param"].keys() - main.declared["param"].keys()):
        values.problem(values.declared["param"][parameter], f"there is no parameter `{parameter}`")


def main(folder):
    templates = {path.resolve(): read(path) for path in sorted(folder.rglob("*.bicep"))}
    values = read(folder / "main.bicepparam")
    for template in templates.values():
        check_names(template)
        check_modules(template, templates)
    check_versions(templates.values())
    check_parameter_file(values, templates[(folder / "main.bicep").resolve()])
    problems = [problem for template in (*templates.values(), values) for problem in template.problems]
    print("\n".join(problems) or f"{len(templates)} templates are well-formed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
