"""X9: what the source must not contain, read as a syntax tree; each rule is shown to catch what it is there for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("codecsep", "tools", "egs", "utils", ".ci")
SERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
FORBIDDEN_CALLS = {
    r"(builtins\.)?(eval|exec|compile|__import__)": "runs text as code",
    r"os\.(system|popen|exec\w*|spawn\w*)|subprocess\.(getoutput|getstatusoutput)|pty\.spawn": "runs a shell command",
    r"yaml\.(load|load_all|full_load\w*|unsafe_load\w*)": "reads YAML with tags; use codecsep.plain_yaml",
    r"torch\.(hub|package|jit)\.\w+|torch\.hub": "loads code, or from the network",
    r".*\.extractall|shutil\.unpack_archive": "unpacks links and climbing names; use codecsep.data.unpack",
    r"(.*\.)?DAC\.load|encodec\.\w+\.from_pretrained|kaldiio\.\w*load\w*|load_ark|load_scp": "runs code out of data",
    r"urllib\.request\.(urlopen|urlretrieve)|requests\.\w+|torch\.hub\.\w+|wget\.\w+": "fetches what is not pinned",
    r"tempfile\.mktemp": "a name that another process can take",
}
MAY_UNPICKLE = {
    "codecsep/weight_file.py": "names the error of torch's restricted unpickler",
    "tools/make_nltk_data.py": "an unpickler that refuses every class",
}
# Each imports only files of its own folder, which it lists first.
MAY_IMPORT_BY_NAME = {"codecsep/config.py", "codecsep/codecs/base.py", "codecsep/models/base.py", "codecsep/bin/cli.py"}
MAY_IMPORT_BY_NAME |= {"codecsep/bin/bench.py"}


def python_files() -> list[Path]:
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            made = any(part in ("__pycache__", "data", "dump", "exp", "downloads", ".cache") for part in parts[2:])
            if path.is_file() and not made and (path.suffix == ".py" or starts_python(path)):
                found.append(path)
    return found


def starts_python(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"python" in file.readline()[:60] if path.suffix in (".pl", "") else False


def faults(text: str, name: str) -> list[str]:
    """Every line of a source that breaks a rule, with the rule."""
    found = []
    for node in ast.walk(ast.parse(text)):
        found += [f"{name}:{node.lineno}: {why}" for why in of_node(node, name)]
    return found


def of_node(node: ast.AST, name: str) -> list[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
        wrong = {module.split(".")[0] for module in modules} & SERIALISERS
        return [f"imports {wrong}"] if wrong and name not in MAY_UNPICKLE else []
    if isinstance(node, ast.Assert) and not name.startswith("tests"):
        return ["assert: python -O takes it out; raise an error with a code"]
    return of_call(node, name) if isinstance(node, ast.Call) else []


def of_call(node: ast.Call, name: str) -> list[str]:
    function = ast.unparse(node.func)
    found = [why for pattern, why in FORBIDDEN_CALLS.items() if re.fullmatch(pattern, function)]
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if "shell" in given and ast.unparse(given["shell"]) != "False":
        found.append("shell=")
    if (
        function in ("np.load", "numpy.load")
        and "allow_pickle" in given
        and ast.unparse(given["allow_pickle"]) != "False"
    ):
        found.append("np.load with pickles")
    if function.endswith("torch.load") and ast.unparse(given.get("weights_only", ast.Constant(None))) != "True":
        found.append("torch.load without a literal weights_only=True")
    if (
        function.endswith("import_module")
        and not isinstance(node.args[0], ast.Constant)
        and name not in MAY_IMPORT_BY_NAME
    ):
        found.append("imports a module by a name that is data")
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_breaks_a_rule(path):
    found = faults(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    assert not found, "\n".join(found)


def test_the_exceptions_are_needed_and_as_described():
    names = {str(path.relative_to(ROOT)) for path in python_files()}
    assert set(MAY_UNPICKLE) | MAY_IMPORT_BY_NAME <= names
    uses = re.findall(r"\bpickle\.\w+", (ROOT / "codecsep/weight_file.py").read_text())
    assert set(uses) == {"pickle.UnpicklingError"}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "subprocess.run('x', shell=flag)",
        "yaml.load(stream, Loader=yaml.SafeLoader)",
        "yaml.unsafe_load(stream)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "torch.hub.load('a', 'b')",
        "torch.package.PackageImporter(path)",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
        "dac.DAC.load(path)",
        "kaldiio.load_scp(path)",
        "urllib.request.urlretrieve(url)",
        "importlib.import_module(name)",
        "assert user_value > 0",
    ],
)
def test_the_rules_catch(text):
    assert faults(text, "codecsep/x.py"), text


@pytest.mark.parametrize(
    "text", ["model.eval()", "torch.load(p, weights_only=True)", "np.load(p)", "run(c, shell=False)"]
)
def test_the_rules_let_pass(text):
    assert not faults(text, "codecsep/x.py")


def test_shell_never_evaluates_text():
    """`eval` in a recipe or verb would run what a user, or a file, gave as a value."""
    for path in [*(ROOT / "utils").glob("*.sh"), *(ROOT / "egs").glob("*/*.sh"), *(ROOT / "egs").glob("*/*/*.sh")]:
        lines = [line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        wrong = [
            line
            for line in lines
            if re.search(r"(^|[;&|(]|\bthen|\bdo)\s*eval\b|\|\s*(ba)?sh\b|bash -c [\"']?\$", line)
        ]
        assert not wrong, f"{path}: {wrong}"
