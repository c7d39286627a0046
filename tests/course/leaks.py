"""Does a text say what the evidence found? Facts come from the claims that evidence pages check: a
sentence gives one away if it names what a claim compares and says which way it goes."""

import ast
import io
import json
import re
import tokenize
from itertools import combinations
from pathlib import Path

import nbformat

EVIDENCE = Path(__file__).resolve().parents[2] / "notebooks" / "evidence"
CONCEPTS = {
    "gradient": r"(?<!integrated )(?<!expected )gradients?\b|saliency",
    "strength": r"\d+ ?%|\bσ\b|noise strengths?",
    "SmoothGrad": r"smooth ?grad|smoothing|\bnoise\b|noisy copies|σ|averag(?:ed|ing) over noise",
    "IG": r"integrated gradients|\big\b|\bpath\b",
    "mean colour": r"(?:mean|average) colou?r|grey baseline|^\w*:? ?mean has",
    "baseline": r"\bbaselines?\b|\bfill\b",
    "black": r"\bblack\b",
    "white": r"\bwhite\b",
    "blur": r"\bblur(?:red)?\b",
    "farthest": r"\bfarthest\b",
    "adversarial": r"\badversarial\b",
    "references": r"references|expected gradients|\bsamples baseline",
    "uniform": r"\buniform\b",
    "laplace": r"\blaplac\w+",
    "rademacher": r"\brademacher\b",
    "cauchy": r"\bcauchy\b",
    "normal": r"\bnormal\b|gaussian",
    "squares": r"\bsquar(?:e|es|ed)\b|mean_square",
    "variance": r"\bvariance\b|vargrad",
    "absolute": r"absolute values?|mean_abs",
    "median": r"\bmedian\b",
    "trimmed": r"\btrimmed\b",
    "geometric": r"\bgeometric\b",
    "steps": r"\b(?:\d+|two|three|five|ten|twenty|fifty|few|many|more) steps\b|number of steps",
    "rule": r"midpoint|trapezoid|gauss|left|right(?= rule)",
    "guided backprop": r"guided back\w+",
    "Grad-CAM": r"grad-?cam",
    "random": r"\brandom(?:ised|ized)?\b",
    "patch": r"\bpatch\b|shortcut",
    "mass": r"\bmass\b|share of (?:the|a) (?:attribution|map)|on the (?:part|shape|letter)",
    "AUC": r"\bauc\b|rank(?:s|ed|ing)? (?:of )?(?:the )?pixels|order of (?:the )?pixels",
    "hidden": r"\bhid(?:e|es|den|ing)\b|keep test|remove test|deletion|insertion",
    "gap": r"completeness|\bgap\b",
    "error": r"\berror\b|converge\w*",
    "calm": r"total variation|\bcalm\w*|\bgrainy\b",
    "contrast": r"pair contrast|\bcontrast\b",
    "stability": r"\bstab\w+|\bsmoothness\b|max-sensitivity|infidelity",
    "order": r"\border(?:s|ed)?\b|\branks?\b",
    "kurtosis": r"\bkurtosis\b|\btails?\b|\bsparse\b|\biqr\b",
    "chance": r"\bchance\b|\boracle\b|the truth itself",
    "probability": r"\bprobabilit\w+|\blogits?\b",
    "layers": r"\blayers?\b|\bweights drawn anew",
    "part": r"(?:black|white|blue|dark|bright)\w* (?:letter|shape|half)|\bthe part\b",
    "product": r"\bproduct\b|\bfactor\b|x − x′",
    "labels": r"(?:keep|kept|still named|labels? surviv\w+|keep the answer|recognis\w+)",
}
DIRECTION = (
    r"\b(?:"
    r"more|less|agrees|already|bigger|stronger|weaker|as \w+ as|fewer|higher|lower|larger|"
    r"smaller|greater|largest|smallest|highest|lowest|best|worst|better|worse|beats?|wins?|"
    r"loses?|lost|gains?|rises?|falls?|improves?|outperforms?|exceeds?|overtakes?|above|"
    r"below|equals?|same|alike|enough|suffices?|nothing|hardly|keeps|forgets?|survives?|"
    r"drops?|halves|doubles|sharper|truer|leads?|raises?|lowers?|hurts?|helps?|stays?|"
    r"matters?"
    r")\b"
)


def claims() -> list[str]:
    """What the committed evidence pages say is supported."""
    found = []
    for path in sorted(EVIDENCE.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                found += re.findall(r"^supported: (.*?) \([-\d]", output.get("text", ""), re.M)
    return found


def concepts(text) -> frozenset[str]:
    return frozenset(name for name, said in CONCEPTS.items() if re.search(said, text, re.I))


def facts(texts) -> set[frozenset[str]]:
    """Pairs of things that some claim relates; what it measures, where it does not say, is mass."""
    pairs = set()
    for text in texts:
        named = concepts(text)
        named |= {"mass"} if len(named) < 2 else set()
        named |= {"SmoothGrad"} if re.search(r"\d %", text) else set()
        pairs |= {frozenset(pair) for pair in combinations(sorted(named), 2)}
    return pairs


def given_away(text, pairs) -> list[str]:
    """The sentences of a text that relate such a pair, with a direction; a question, a blank to
    fill and a claim of the paper's relate nothing."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|```.*?```|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    found = []
    for sentence in re.split(r"(?<=[.?!:;])\s+|\n\s*\n|\n(?=[-*|>#\d])|\|", text):
        said = " ".join(sentence.split())
        if "?" in said or "__" in said or re.search(r"\bpapers?\b|et al\.", said):
            continue
        named = concepts(said)
        if re.search(DIRECTION, said, re.I) and any(pair <= named for pair in pairs):
            found.append(said)
    return found


def texts_of(path) -> list[str]:
    """What a reader of a file can read as words."""
    if path.suffix not in (".ipynb", ".py", ".json", ".md", ".toml", ".txt"):
        return []
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return [
            cell.source if cell.cell_type == "markdown" else comments(cell.source)
            for cell in nbformat.reads(source, as_version=4).cells
        ]
    if path.suffix == ".py":
        tree = ast.parse(source)
        holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docs = [ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, holders)]
        return [*filter(None, docs), comments(source)]
    if path.suffix == ".json":
        return [json.dumps(json.loads(source), ensure_ascii=False)]
    return [source]


def comments(source) -> str:
    """Comments of Python code, one a line."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, IndentationError):
        return source
    return "\n\n".join(t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT)
