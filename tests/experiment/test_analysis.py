"""A/B figures against scipy and statsmodels to 1e-6; looking often rarely errs; the alarm of the split."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from perennial.core.experiment.analysis import Recommendation, analyse
from perennial.core.experiment.design import (
    sample_size_binary,
    sample_size_continuous,
    sample_size_count,
)
from perennial.core.experiment.posterior import Variant, expected_loss, posterior, superiority
from perennial.core.experiment.sequence import (
    FEWEST_EVENTS,
    decision_size,
    largest_part,
    sequential_bounds,
)
from perennial.core.release.analysis.sample_ratio import sample_ratio

CLOSE = {"abs": 1e-6, "rel": 1e-6}
A = {
    "binary": Variant(name="A", n=1000, total=100),
    "count": Variant(name="A", n=500, total=800, exposure=450.0, spread=850.0, largest=20.0),
    "continuous": Variant(name="A", n=40, total=80.0, spread=90.0, largest=9.0),
}
B = {
    "binary": Variant(name="B", n=900, total=120),
    "count": Variant(name="B", n=520, total=905, exposure=470.0, spread=950.0, largest=20.0),
    "continuous": Variant(name="B", n=50, total=117.0, spread=56.22, largest=6.0),
}
KINDS = tuple(A)


@pytest.mark.parametrize("kind", KINDS)
def test_posterior_figures_are_those_of_adaptive_quadrature(kind):
    a, b = posterior(kind, A[kind]), posterior(kind, B[kind])
    low, high = min(a.ppf(1e-13), b.ppf(1e-13)), max(a.isf(1e-13), b.isf(1e-13))
    near = {"points": [a.mean(), b.mean()], "limit": 400, "epsabs": 1e-11}
    chance = integrate.quad(lambda x: a.pdf(x) * b.sf(x), low, high, **near)[0]
    loss = integrate.quad(lambda x: b.cdf(x) * a.sf(x), low, high, **near)[0]
    assert superiority(a, b) == pytest.approx(chance, **CLOSE)
    assert expected_loss(a, b) == pytest.approx(loss, **CLOSE)
    assert superiority(a, b) + superiority(b, a) == pytest.approx(1.0, **CLOSE)
    assert expected_loss(a, b) - expected_loss(b, a) == pytest.approx(a.mean() - b.mean(), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_are_those_of_many_draws(kind):
    one = analyse(kind, (A[kind], B[kind]), (1, 1)).comparisons[0]
    generator = np.random.default_rng(2)
    a, b = (posterior(kind, arm).rvs(400_000, random_state=generator) for arm in (A[kind], B[kind]))
    interval = one.difference_interval
    np.testing.assert_allclose(
        [interval.low, interval.high], np.quantile(b - a, [0.025, 0.975]), atol=0.01 * (b - a).std()
    )
    if kind != "continuous":
        interval = one.lift_interval
        ratio = b / a - 1
        np.testing.assert_allclose(
            [interval.low, interval.high], np.quantile(ratio, [0.025, 0.975]), atol=0.01 * ratio.std()
        )


def test_mean_interval_is_the_classical_one():
    values = np.random.default_rng(1).normal(3, 2, 40)
    arm = Variant.of("A", values)
    found = analyse("continuous", (arm, B["continuous"]), (1, 1)).means[0]
    classical = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(classical, **CLOSE)


@pytest.mark.parametrize(("base", "other"), [(0.1, 0.12), (0.01, 0.02), (0.85, 0.8)])
def test_sample_size_of_proportions_is_that_of_statsmodels(base, other):
    power = pytest.importorskip("statsmodels.stats.power")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    theirs = power.NormalIndPower().solve_power(
        proportion.proportion_effectsize(other, base), alpha=0.05, power=0.8, alternative="two-sided"
    )
    assert sample_size_binary(base, other, 0.05, 0.8) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("difference", "deviation"), [(0.5, 1.0), (0.1, 2.0), (3.0, 2.0)])
def test_sample_size_of_means_is_that_of_statsmodels(difference, deviation):
    power = pytest.importorskip("statsmodels.stats.power")
    theirs = power.TTestIndPower().solve_power(difference / deviation, alpha=0.05, power=0.9)
    assert sample_size_continuous(difference, deviation, 0.05, 0.9) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("alpha", "power"), [(0.01, 0.99), (0.001, 0.999), (0.05, 0.8)])
def test_the_sample_of_any_effect_has_the_power(alpha, power):
    sizes = [sample_size_continuous(effect, 1.0, alpha, power) for effect in np.geomspace(0.011, 12.0, 25)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= 2.0
    about = 2 * ((stats.norm.isf(alpha / 2) + stats.norm.ppf(power)) / 0.011) ** 2
    assert sizes[0] == pytest.approx(about, rel=1e-3)


def test_a_difference_of_many_deviations_is_decided():
    arms = tuple(
        Variant(name=name, n=100, total=100 * mean, spread=99 * 0.01**2, largest=0.03**2)
        for name, mean in (("A", 1.0), ("B", 1.1))
    )
    comparison = analyse("continuous", arms, (1, 1)).comparisons[0]
    assert (comparison.decision, comparison.needed) == ("PROMOTE", 100)


def test_two_groups_need_twice_what_one_does():
    assert sample_size_binary(0.1, 0.12, 0.05, 0.8) == pytest.approx(
        2
        * ((stats.norm.isf(0.025) + stats.norm.ppf(0.8)) / (2 * (np.arcsin(0.12**0.5) - np.arcsin(0.1**0.5))))
        ** 2,
        rel=1e-4,
    )
    variances = 1.0 + 1.25
    direct = (stats.norm.isf(0.025) + stats.norm.ppf(0.8)) ** 2 * variances / 0.25**2
    assert sample_size_count(1.0, 1.25, 0.05, 0.8) == pytest.approx(direct, rel=0.01)
    with pytest.raises(ValueError, match="zero"):
        sample_size_binary(0.1, 0.1, 0.05, 0.8)


@pytest.mark.parametrize("observed", [(500, 520), (480, 700), (30, 31)])
def test_sample_ratio_is_pearsons(observed):
    found = sample_ratio(observed, (1, 1), 0.01)
    assert found.p_value == pytest.approx(stats.chisquare(observed).pvalue, **CLOSE)


def test_sample_ratio_looked_at_often_rarely_alarms_and_finds_a_lost_tenth():
    generator = np.random.default_rng(4)
    for chance, least, most in ((0.5, 0, 0.02), (0.55, 0.95, 1)):
        left = generator.binomial(200, chance, size=(200, 60)).cumsum(axis=1)
        alarms = [
            any(
                sample_ratio((int(x), int(n - x)), (1, 1), 0.01).alarm
                for x, n in zip(row, range(200, 12001, 200), strict=True)
            )
            for row in left
        ]
        assert least <= np.mean(alarms) <= most
    assert not sample_ratio((0, 0), (1, 1), 0.01).alarm


def test_mismatch_forbids_a_decision():
    arms = Variant(name="A", n=5000, total=500), Variant(name="B", n=4000, total=800)
    assert analyse("binary", arms, (1, 1)).comparisons[0].decision is Recommendation.CONTINUE
    assert analyse("binary", arms, (5, 4)).comparisons[0].decision is Recommendation.PROMOTE


def test_worth_ends_a_test_that_finds_nothing():
    arms = Variant(name="A", n=50000, total=5000), Variant(name="B", n=50000, total=5010)
    assert analyse("binary", arms, (1, 1)).comparisons[0].decision is Recommendation.CONTINUE
    assert analyse("binary", arms, (1, 1), worth=0.02).comparisons[0].decision is Recommendation.KEEP


@pytest.mark.parametrize("kind", KINDS)
def test_daily_looks_rarely_declare_a_false_winner(kind):
    """28 looks at arms without a difference; the chance at 95 % that any decides."""
    generator = np.random.default_rng(6)
    draw = {
        "binary": lambda: generator.binomial(1, 0.1, 200),
        "count": lambda: generator.poisson(1.5, 200),
        "continuous": lambda: generator.exponential(2.0, 200),
    }[kind]
    wrong = 0
    for _ in range(200):
        seen = np.empty((2, 0))
        for _ in range(28):
            seen = np.concatenate([seen, [draw(), draw()]], axis=1)
            a, b = (Variant.of("x", outcomes) for outcomes in seen)
            low, high = sequential_bounds(kind, a, b, 0.05)
            if low > 0 or high < 0:
                wrong += 1
                break
    assert wrong <= 10


@pytest.mark.parametrize(
    ("kind", "arm", "says"),
    [
        ("binary", Variant(name="B", n=10, total=11), "successes"),
        ("binary", Variant(name="B", n=2, total=1), "observations"),
        ("continuous", Variant(name="B", n=4, total=4.0, spread=0.0, largest=0.0), "the same"),
    ],
)
def test_impossible_arms_are_refused(kind, arm, says):
    with pytest.raises(ValueError, match=says):
        analyse(kind, (A[kind], arm), (1, 1))


def test_split_is_judged_by_who_was_assigned_not_by_who_had_an_outcome():
    arms = (Variant(name="A", n=900, total=90), Variant(name="B", n=500, total=50))
    assert analyse("binary", arms, (50, 50)).ratio.alarm
    found = analyse("binary", arms, (50, 50), assigned=(1010, 990))
    assert (found.ratio.observed, found.ratio.alarm) == ((1010, 990), False)


@pytest.mark.parametrize(
    ("kind", "base", "effect", "deviation", "expected"),
    [
        ("binary", 0.1, 0.02, 0.0, 16_884),
        ("binary", 0.1, -0.2, 0.0, None),
        ("binary", 0.9, 0.2, 0.0, None),
        ("count", 2.0, 0.0, 0.0, None),
        ("continuous", 5.0, 10.0, 1.0, 100),
        ("continuous", 5.0, 1.0, 0.0, 100),
    ],
)
def test_observations_needed(kind, base, effect, deviation, expected):
    assert decision_size(kind, base, effect, deviation, 0.05, 0.8, 0.5) == expected


def test_needed_is_for_the_difference_worth_a_change_else_for_the_one_seen():
    arms = (Variant(name="A", n=1000, total=100), Variant(name="B", n=1000, total=120))
    sizes = [
        analyse("binary", arms, (1, 1), worth=worth).comparisons[0].needed for worth in (0.0, 0.02, 0.04)
    ]
    assert sizes[0] == sizes[1] == 16_884
    assert sizes[2] < sizes[1] / 3


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_the_size_printed_has_its_power(kind, share):
    generator = np.random.default_rng(8)
    mean, effect, deviation = (0.3, 0.15, 0.0) if kind == "binary" else (2.0, 0.3, 1.0)
    n = decision_size(kind, mean, effect, deviation, 0.05, 0.8, share)
    detected = 0
    for _ in range(200):
        treated = generator.random(n) < share
        means = mean + effect * treated
        values = (generator.random(n) < means) if kind == "binary" else generator.normal(means, 1.0)
        arms = (Variant.of(name, values[side] * 1.0) for name, side in (("A", ~treated), ("B", treated)))
        detected += sequential_bounds(kind, *arms, 0.05)[0] > 0
    assert detected >= 145, "80 % of 200 less three standard errors"


@pytest.mark.parametrize(
    ("kind", "draw"),
    [
        ("binary", lambda rng, n: (rng.random(n) < 0.01).astype(float)),
        ("continuous", lambda rng, n: rng.lognormal(0.0, 1.5, n)),
        ("continuous", lambda rng, n: (rng.random(n) < 0.01) * rng.lognormal(3.0, 1.0, n)),
        ("count", lambda rng, n: rng.negative_binomial(1, 0.5, n).astype(float)),
    ],
    ids=["rare", "heavy tail", "few buyers", "twice the variance of Poisson"],
)
def test_equal_variants_at_a_small_share_rarely_decide(kind, draw):
    """Looks from 1,000 to 20,000 users, 5 % of them treated."""
    generator = np.random.default_rng(4)
    wrong = 0
    for _ in range(100):
        outcomes, treated = draw(generator, 20_000), generator.random(20_000) < 0.05
        for n in range(1000, 20_001, 1000):
            arms = tuple(
                Variant.of(name, outcomes[:n][side])
                for name, side in (("A", ~treated[:n]), ("B", treated[:n]))
            )
            low, high = sequential_bounds(kind, *arms, 0.05)
            is_bounded = kind == "binary" or largest_part(kind, *arms) <= 1 / FEWEST_EVENTS
            if (low > 0 or high < 0) and is_bounded:
                wrong += 1
                break
    assert wrong <= 8, "nominal 5 of 100"


def test_all_against_nothing_is_decided():
    arms = (Variant(name="A", n=60, total=0), Variant(name="B", n=60, total=60))
    assert analyse("binary", arms, (1, 1)).comparisons[0].decision is Recommendation.PROMOTE


def test_one_observation_with_most_of_the_variance_forbids_a_decision():
    generator = np.random.default_rng(9)
    control, treatment = generator.normal(1.0, 0.01, (2, 500))
    treatment[0] = 1000.0
    comparison = analyse(
        "continuous", (Variant.of("A", control), Variant.of("B", treatment)), (1, 1)
    ).comparisons[0]
    assert comparison.decision is Recommendation.CONTINUE
    assert "single observation" in comparison.why


def test_counts_vary_around_what_their_exposure_lets_expect():
    even = Variant.of("A", np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    assert (even.mean, even.spread, even.exposure) == (1.0, 0.0, 6.0)
