"""The syntax tree of a function that is loaded, from its source, proven to be the source of the code that is loaded."""

from __future__ import annotations

import ast
import linecache
import types


class Unsupported(Exception):
    """The short way (compile_front.py) does not know this construct: the kernel goes through numba's front end."""


class WithoutBreakpoints(ast.NodeTransformer):
    """Drops `breakpoint()`, and an `if` that holds nothing else: they act where a body is interpreted, not in its kernel."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Keep any other expression."""
        return None if ast.unparse(node) == "breakpoint()" else node

    def visit_If(self, node: ast.If) -> ast.If | None:
        """Keep an `if` that still holds a statement."""
        self.generic_visit(node)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.copy_location(ast.Pass(), node)]
        return node


def tree_of(fn: types.FunctionType) -> ast.FunctionDef:
    """The definition of `fn`. Raises Unsupported if there is no source, or another one than was loaded."""
    code = fn.__code__
    last = max((end for _, end, _, _ in code.co_positions() if end is not None), default=code.co_firstlineno)
    lines = linecache.getlines(code.co_filename, fn.__globals__)[code.co_firstlineno - 1 : last]
    try:
        # The lines stay as they are (a docstring belongs to the code); `if` makes their indentation right.
        tree = ast.parse("if 1:\n" + "".join(lines) if lines and lines[0][:1].isspace() else "".join(lines))
    except SyntaxError as error:
        raise Unsupported(f"{fn.__name__}: its lines alone are no definition") from error
    body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.If) else tree.body
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        raise Unsupported(f"{fn.__name__}: not a definition of its own")
    found = body[0]
    if not _same(code, _compiled(found, code.co_freevars)):
        raise Unsupported(f"{fn.__name__}: the source has changed")
    return found


def _compiled(tree: ast.FunctionDef, free: tuple[str, ...]) -> types.CodeType | None:
    """The code of the definition alone, within a function whose variables it closes over."""
    bare = ast.FunctionDef(tree.name, tree.args, tree.body, [], None, None)
    for arg in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs):
        arg.annotation = None
    outer_args = ast.arguments([], [ast.arg(name) for name in free], None, [], [], None, [])
    outer = ast.FunctionDef("outer", outer_args, [bare], [], None, None)
    for node in (bare, outer):
        vars(node)["type_params"] = []  # Python 3.12 wants the field
    module = ast.fix_missing_locations(ast.Module([outer], []))
    code: types.CodeType | None = compile(module, "<kernel>", "exec", dont_inherit=True)
    for _ in range(2):
        code = next((c for c in code.co_consts if isinstance(c, types.CodeType)), None) if code else None
    return code


def _same(a: types.CodeType, b: types.CodeType | None) -> bool:
    names = ("co_consts", "co_names", "co_varnames", "co_freevars", "co_argcount")
    return (
        b is not None
        and a.co_code == b.co_code
        and all(repr(getattr(a, name)) == repr(getattr(b, name)) for name in names)  # repr: 0.0 is not -0.0
    )
