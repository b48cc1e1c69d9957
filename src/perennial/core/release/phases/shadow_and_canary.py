"""SHADOW and CANARY: the candidate gets copies or a share of the requests and is judged by them."""

from __future__ import annotations

from perennial.core.release.abort import end_release
from perennial.core.release.analysis.sample_ratio import RULE
from perennial.core.release.error_budget import count_error
from perennial.core.release.phase import Phase
from perennial.core.release.status import Pause
from perennial.core.release.step_analysis import analyse
from perennial.core.release.steps import begin_next, current_step, is_over, share_traffic
from perennial.core.release.transition import Transition
from perennial.core.verdict import Verdict, worst


def run(transition: Transition) -> None:
    """Judge the step: abort on FAIL, count an ERROR, go on when the step is over, else keep its share."""
    if transition.champion_moved:
        end_release(transition, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    if transition.status.entered_at > transition.now:
        # The clock was set back: by the old time the step would last as much longer, or look at no log.
        transition.update(entered_at=transition.now)
    judgements = analyse(transition)
    verdict = worst(judgements)
    if verdict is Verdict.FAIL:
        proven = [judgement for judgement in judgements if judgement.verdict is verdict]
        reasons = "; ".join(f"{judgement.rule}: {judgement.observed}" for judgement in proven)
        end_release(transition, Phase.ROLLED_BACK, reasons)
        return
    if verdict is Verdict.ERROR:
        count_error(
            transition, next(judgement.observed for judgement in judgements if judgement.verdict is verdict)
        )
        if not transition.status.phase.is_measured():
            return
    elif transition.status.errors_in_a_row:
        transition.update(note="measured again")
    if any(judgement.rule == RULE and judgement.verdict is Verdict.UNSURE for judgement in judgements):
        transition.pause(Pause.SAMPLE_RATIO)
    if is_over(transition, verdict):
        begin_next(transition)
    else:
        share_traffic(transition, current_step(transition))
