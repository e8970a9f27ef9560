"""The ranking document: what it may say, what it must not, and that every message names the place."""

import pytest

from evaluator.ranking import ConfigError, parse_ranking
from evaluator.ranking.document.config import RuleKind, SchemeType
from evaluator.ranking.document.presets import preset_names, preset_titles
from evaluator.ranking.document.words import describe, in_words

NAMED_IN_THE_DESIGN = (
    *("grand-challenge-abs", "grand-challenge-avg", "grand-challenge-med", "grand-challenge-combined", "codabench-lex"),
    *("challengeR-aggregate", "challengeR-rank", "challengeR-test", "msd", "flare21", "flare22", "flare23"),
    *("kits19", "kits21", "kits23", "brats", "brats-lesion", "feta", "segrap", "segrap25", "amos", "hecktor22"),
    *("hecktor25", "touchstone", "toothfairy", "structseg", "mrbrains", "empire", "rnr-exm", "drac22"),
)

BROKEN = {
    "an unknown key": ({"schema": {}}, r"ranking: found schema; expected only .*scheme"),
    "an unknown metric": (
        {"metrics": ["sharpness"]},
        r"ranking.metrics\[0\]: found 'sharpness'; expected a metric we know",
    ),
    "a metric without direction": (
        {"metrics": ["dice", {"id": "sharpness"}]},
        r"ranking.metrics\[1\].direction: found nothing; expected max",
    ),
    "a metric twice": ({"metrics": ["dice", "dice"]}, r"ranking.metrics: found .*; expected each metric once"),
    "bounds that are one number": (
        {"metrics": [{"id": "dice", "bounds": 1}]},
        r"bounds: found 1; expected \[lower, upper\]",
    ),
    "bounds that fall": (
        {"metrics": [{"id": "dice", "bounds": [1, 0]}]},
        r"bounds: found \[1, 0\]; expected the lower end",
    ),
    "metrics that weigh nothing": ({"metrics": [{"id": "dice", "weight": 0}]}, r"metrics: found weights of zero only"),
    "structures that weigh nothing": (
        {"metrics": [{"id": "dice", "structures": {"liver": 0}}]},
        r"structures: found weights of zero only; expected one that counts",
    ),
    "children that weigh nothing": (
        {"scheme": {"children": ["value", "value"], "weights": [0, 0]}},
        r"scheme.weights: found weights of zero only",
    ),
    "a child with a negative weight": (
        {"scheme": {"children": ["value", "value"], "weights": [1, -1]}},
        r"scheme.weights\[1\]: found -1; expected at least 0",
    ),
    "a level of certainty": ({"significance": {"alpha": 1}}, r"alpha: found 1; expected a level between 0 and 1"),
    "a negative weight": ({"metrics": [{"id": "dice", "weight": -1}]}, r"weight: found -1; expected at least 0"),
    "an infinite number": ({"ties": {"tolerance": float("inf")}}, r"ties.tolerance: found inf; expected a number"),
    "a boolean for a number": ({"ties": {"tolerance": True}}, r"ties.tolerance: found True; expected a number"),
    "an unknown scheme": ({"scheme": "guess"}, r"ranking.scheme.type: found 'guess'; expected one of value"),
    "an unknown level": ({"scheme": {"rank_at": ["ward"]}}, r"rank_at: found ward; expected structure, case or metric"),
    "two unit levels": (
        {"unit": {"levels": ["case", "site"]}, "scheme": {"rank_at": ["case", "site"]}},
        r"rank_at: found .*; expected at most one",
    ),
    "levels without cases": (
        {"unit": {"levels": ["structure", "site"]}},
        r"levels: found .*; expected each level once",
    ),
    "an aggregate nobody knows": (
        {"scheme": {"aggregate": {"case": "mode"}}},
        r"aggregate.case: found 'mode'; expected mean",
    ),
    "an aggregate of no level": ({"scheme": {"aggregate": {"ward": "mean"}}}, r"found level 'ward'; expected one of"),
    "weights that do not match": (
        {"scheme": {"children": ["value", "value"], "weights": [1]}},
        r"scheme.weights: found 1; expected one for each of 2 children",
    ),
    "children beside metrics": (
        {"metrics": ["dice"], "scheme": {"metrics": ["dice"], "children": ["value"]}},
        r"found children beside metrics",
    ),
    "a scheme over an undeclared metric": (
        {"metrics": ["dice"], "scheme": {"metrics": ["nsd"]}},
        r"scheme: found metrics nsd; expected some of dice",
    ),
    "a breaker over an undeclared metric": (
        {"metrics": ["dice"], "ties": {"break": ["nsd.liver"]}},
        r"found metrics nsd",
    ),
    "normalising a value": ({"scheme": {"type": "value", "normalise": "teams"}}, r"normalise: found teams on a value"),
    "an unknown missing rule": ({"missing": {"any": "forget"}}, r"missing.any: found 'forget'; expected a number"),
    "a failure that counts as perfect": (
        {"metrics": ["dice", "hd95"], "missing": {"any": 0}},
        r"ranking.missing.any: found 0 for hd95; expected a value worse than 0, the best it can be",
    ),
    "a crash that counts as perfect for one metric": (
        {"metrics": ["dice", "hd95"], "missing": {"any": "rank_last", "timeout": {"dice": 1, "hd95": 9}}},
        r"ranking.missing.timeout: found 1 for dice",
    ),
    "a tolerance where larger is better": (
        {"metrics": [{"id": "dice", "tolerance": 0.1}]},
        r"metrics\[0\].tolerance: found 0.1 where larger is better; expected it on a cost",
    ),
    "digits out of range": ({"ties": {"digits": 40}}, r"ties.digits: found 40; expected 1 to 15"),
    "another continuity": ({"significance": {"correction": "none"}}, r"correction: found 'none'; expected continuity"),
    "three sides": ({"significance": {"sides": "three"}}, r"sides: found 'three'; expected one or two"),
    "an unknown tool": ({"stability": {"compat": "R"}}, r"compat: found 'R'; expected null or challengeR-1.0.5"),
    "a certain interval": ({"stability": {"ci": 1.0}}, r"stability.ci: found 1; expected a share"),
    "an unknown interval": (
        {"stability": {"interval": "exact"}},
        r"interval: found 'exact'; expected auto, studentised, percentile or bca",
    ),
    "a team rule nobody knows": ({"submissions": {"per_team": "first"}}, r"per_team: found 'first'; expected best"),
    "bands that fall": (
        {"subgroups": [{"attribute": "age", "bands": [40, 20]}]},
        r"subgroups\[0\]: found .*bands that rise",
    ),
    "an unknown preset": ({"preset": "nobody"}, r"ranking.preset: found 'nobody'; expected one of amos"),
    "a pooled product": (
        {"metrics": [{"id": "x", "direction": "max", "pooled": {"numerator": "a*b", "denominator": "c"}}]},
        r"pooled.numerator: found 'a\*b'; expected a sum",
    ),
    "a list for a mapping": ({"ties": []}, r"ranking.ties: found \[\]; expected a mapping"),
    "a mapping for a list": ({"subgroups": {"age": 1}}, r"subgroups: found .*; expected a list"),
    "text for a whole number": (
        {"stability": {"bootstrap": "many"}},
        r"bootstrap: found 'many'; expected a whole number",
    ),
    "text for a flag": ({"submissions": {"require_complete": "yes"}}, r"require_complete: found 'yes'; expected true"),
    "a number for text": ({"unit": {"cluster": 3}}, r"unit.cluster: found 3; expected text"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_document_is_refused_with_its_place(name):
    document, message = BROKEN[name]
    with pytest.raises(ConfigError, match=message):
        parse_ranking(document)


def test_an_empty_document_ranks_mean_ranks_of_whatever_is_known():
    config = parse_ranking({})
    assert (config.scheme.type, config.metrics, config.cluster) == (SchemeType.MEAN_OF_RANKS, (), "case")


def test_a_preset_is_a_start_that_sections_override():
    config = parse_ranking({"preset": "flare22", "ties": {"method": "average"}})
    assert [spec.weight for spec in config.metrics] == [1, 1, 1, 0.5, 0.5]
    assert config.ties.method == "average"
    assert config.missing.by_class["any"]["gpu_auc"].number == 3600 * (1024 * 10 - 2048)


@pytest.mark.parametrize("name", NAMED_IN_THE_DESIGN)
def test_every_published_rule_has_a_preset_with_a_title_and_words(name):
    assert name in preset_names()
    assert 20 < len(preset_titles()[name]) < 140
    config = parse_ranking({"preset": name})
    assert config.missing.by_class, "a preset states what a missing value counts as"
    words = {item.heading: item.text for item in describe(config)}
    assert config.metrics[0].id in words["Metrics"]
    assert "rank" in words["Ranking method"].lower() or "borda" in words["Ranking method"]


def test_rules_may_stand_for_all_metrics_or_for_each():
    config = parse_ranking(
        {"metrics": ["dice", "nsd"], "missing": {"any": 0, "timeout": {"nsd": {"times_max_of_others": 0.5}}}}
    )
    assert config.missing.by_class["any"]["*"].kind is RuleKind.NUMBER
    assert str(config.missing.by_class["timeout"]["nsd"]) == "0.5 × the worst of the others"


def test_what_organizers_do_not_say_is_shown_as_not_stated():
    words = {item.heading: item for item in describe(parse_ranking({"metrics": ["dice"]}))}
    assert not words["Why these metrics"].is_stated
    assert not words["Missing values"].is_stated
    said = parse_ranking({"metrics": ["dice"], "missing": {"any": 0}, "justification": {"metrics": "overlap matters"}})
    words = {item.heading: item for item in describe(said)}
    assert words["Why these metrics"].text == "overlap matters"
    assert words["Missing values"].text == "any: 0"


def test_the_words_of_a_ranking_say_what_is_not_as_usual():
    assert "cpu_auc (weight 0.5)" in in_words(parse_ranking({"preset": "flare22"}))
    nested = in_words(parse_ranking({"preset": "hecktor25"}))
    assert "dice of GTVp" in nested
    assert "pooled over cases of GTVn" in nested
    assert "ties are broken by dice.tumor" in in_words(parse_ranking({"preset": "kits23"}))
    assert "Rank" in in_words(parse_ranking({"scheme": "value"}))


def test_tasks_and_subgroups_are_said_in_words_where_there_are_any():
    document = {
        "metrics": ["dice"],
        "subgroups": ["sex", {"attribute": "age", "bands": [18, 65], "minimum_cases": 5}],
        "multi_task": {"by": "organ", "consensus": "kemeny_weak", "weights": {"liver": 2}},
    }
    words = {item.heading: item.text for item in describe(parse_ranking(document))}
    assert words["Several tasks"] == (
        "each organ is ranked apart; kemeny weak consensus of the rankings; weights liver 2, others 1"
    )
    assert words["Subgroups"].startswith(
        "sex, groups of at least 10 cases; age (cut at 18 and 65), groups of at least 5 cases. Kruskal"
    )
    assert not {"Several tasks", "Subgroups"} & {item.heading for item in describe(parse_ranking({}))}
