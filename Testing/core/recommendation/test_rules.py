"""The recipe: every rule speaks when it should, stays silent when it should not, and does what it says."""

from __future__ import annotations

import dataclasses

import pytest
from DeepVsClassicRegLib.core.recommendation.domain import DomainReport
from DeepVsClassicRegLib.core.recommendation.facts import EngineFacts, Facts, ModelFacts
from DeepVsClassicRegLib.core.recommendation.rules import RULES, Plan, apply_rules
from DeepVsClassicRegLib.core.recommendation.strengths import DIFFERENT_CONTRASTS, ONE_CONTRAST, Strength

INSIDE = DomainReport(0.5, 2.0, True, {}, ())
OUTSIDE = DomainReport(5.0, 2.0, False, {"intensity": 5.0}, ("the distribution of the intensities differs",))
ENGINES = (
    EngineFacts("linear", "linear", True),
    EngineFacts("network", "deep", True),
    EngineFacts("network+refine", "deep", True),
    EngineFacts("instance", "classical", True),
    EngineFacts("greedy", "classical", False),
    EngineFacts("ants", "classical", True, True, ("ants:quick",)),
    EngineFacts("fireants", "classical", False),
    EngineFacts("niftyreg", "classical", False, False),
)
STRENGTHS = {
    ONE_CONTRAST: {
        "greedy": Strength(0.5, 5, 20),
        "instance": Strength(0.4, 5, 20),
        "ants:quick": Strength(0.2, 5, 20),
    },
    DIFFERENT_CONTRASTS: {"instance": Strength(0.3, 2, 3), "greedy": Strength(-0.3, 2, 3)},
}
MODEL = ModelFacts("oasis", True, False, True, INSIDE)
PLAIN = Facts(engines=ENGINES, strengths=STRENGTHS, same_contrast=True, label_share=0.4, confidence=0.95)


def plan(**changes):
    return apply_rules(dataclasses.replace(PLAIN, **changes))


def spoke(found: Plan) -> set[str]:
    return {reason.rule for reason in found.reasons}


def test_without_anything_special_the_best_measured_classical_engine():
    found = plan()
    assert found.ranking[:3] == ("greedy", "instance", "ants:quick") and found.sure
    assert spoke(found) == {"classical-by-default", "no-training-labels", "measured-best"}
    assert "niftyreg" not in found.ranking, "what is not installed is not recommended"
    assert set(found.ranking) == {"greedy", "instance", "ants:quick", "fireants", "network", "network+refine", "linear"}


def test_supervised_in_domain_puts_the_network_first():
    found = plan(models=(MODEL,))
    assert found.ranking[:2] == ("network", "network+refine") and "supervised-in-domain" in spoke(found)
    assert "measured-best" not in spoke(found)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"domain": OUTSIDE}, "model-out-of-domain"),
        ({"covers_labels": False}, "labels-not-supervised"),
        ({"randomized": True}, "randomized-model"),
        ({"supervised": False}, None),
        ({"domain": None}, None),
        ({"covers_labels": None}, None),
    ],
)
def test_any_missing_condition_keeps_the_network_back(change, rule):
    found = plan(models=(dataclasses.replace(MODEL, **change),))
    assert found.ranking[0] == "greedy" and "supervised-in-domain" not in spoke(found)
    assert rule is None or rule in spoke(found)


def test_training_labels():
    assert "few-training-labels" in spoke(plan(training_labels=20))
    many = spoke(plan(training_labels=300, representative=True))
    assert "train-supervised" in many and "no-training-labels" not in many and "few-training-labels" not in many
    assert "train-supervised" not in spoke(plan(training_labels=300, models=(MODEL,)))
    foreign = plan(training_labels=300, representative=False)
    assert "labels-not-representative" in spoke(foreign) and "train-supervised" not in spoke(foreign)
    assert foreign.ranking[0] == "greedy"
    open_question = next(r for r in plan(training_labels=300).reasons if r.rule == "train-supervised")
    assert "not known whether" in open_question.text


def test_different_contrasts_drop_engines_for_one_contrast():
    found = plan(same_contrast=False, contrast_words="correlation 0.1")
    assert found.ranking[0] == "instance" and "different-contrasts" in spoke(found)
    assert found.ranking.index("greedy") > found.ranking.index("linear")
    assert "different-contrasts" not in spoke(plan(same_contrast=None))


def test_after_a_failed_alignment_nothing_is_sure_and_one_contrast_engines_come_last():
    found = plan(confidence=0.05)
    assert found.ranking[0] == "instance" and not found.sure and "alignment-failed" in spoke(found)
    assert found.ranking.index("greedy") > found.ranking.index("linear")
    doubtful = plan(confidence=0.4)
    assert doubtful.ranking[0] == "greedy" and not doubtful.sure and "alignment-doubtful" in spoke(doubtful)
    assert not {"alignment-failed", "alignment-doubtful"} & spoke(plan(confidence=None))


def test_the_time_budget_selects_the_next_engine_within_it():
    seconds = {"greedy": 100.0, "instance": 8.0, "linear": 2.0}
    found = plan(time_budget_s=10, seconds=seconds)
    assert found.ranking[0] == "instance" and found.sure and "time-budget" in spoke(found)
    assert "instance does not" in next(r.text for r in found.reasons if r.rule == "time-budget")
    assert "time-budget" not in spoke(plan(time_budget_s=200, seconds=seconds))
    hopeless = plan(time_budget_s=1, seconds=seconds)
    assert not hopeless.sure and hopeless.ranking[0] == "greedy"


def test_gpu_overlap_information_and_landmarks():
    assert plan(device="cuda").ranking[:2] == ("greedy", "fireants")
    assert "gpu" not in spoke(plan())
    assert "little-overlap" in spoke(plan(overlap=0.2)) and not plan(overlap=0.2).sure
    assert "little-overlap" not in spoke(plan(overlap=0.5))
    assert "little-information" in spoke(plan(label_share=0.05)) and plan(label_share=0.05).sure
    assert "no-segmentation" in spoke(plan(label_share=None))
    assert "landmarks" in spoke(plan(landmarks=10))
    beyond = plan(beyond="the labels are thinner")
    assert "beyond-calibration" in spoke(beyond) and not beyond.sure


def test_every_rule_has_a_name_a_source_and_a_case_that_triggers_it():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names) and all(rule.source for rule in RULES)
    cases = [
        PLAIN,
        dataclasses.replace(PLAIN, training_labels=20),
        dataclasses.replace(PLAIN, training_labels=300),
        dataclasses.replace(PLAIN, training_labels=300, representative=False),
        dataclasses.replace(PLAIN, models=(MODEL,)),
        dataclasses.replace(
            PLAIN,
            models=(
                dataclasses.replace(MODEL, domain=OUTSIDE, covers_labels=False),
                dataclasses.replace(MODEL, randomized=True),
            ),
        ),
        dataclasses.replace(PLAIN, device="cuda", same_contrast=False, landmarks=3, overlap=0.1, confidence=0.1),
        dataclasses.replace(PLAIN, confidence=0.5, label_share=0.1, beyond="x", time_budget_s=1.0),
        dataclasses.replace(PLAIN, label_share=None),
    ]
    assert set().union(*(spoke(apply_rules(case)) for case in cases)) == set(names)
