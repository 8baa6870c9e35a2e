"""Whether more or less of a metric is better, by its name."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LESS: Final = _words(
    """
    loss losses logloss cost costs penalty error errors err mistakes residual residuals regret
    mse rmse nrmse mae mape smape wape mase msle rmsle medae mad huber hinge deviance
    nll bce ce crossentropy xent perplexity ppl bpc bpb bpd bits nats kl kld divergence jsd
    wer cer eer ece mce fid kid lpips brier distance dist emd wasserstein hausdorff chamfer
    hamming levenshtein fpr fnr far frr false miss misses violation violations gap surprisal
    """
)
_MORE: Final = _words(
    """
    acc accuracy accuracies top correct match agreement hit hits success win wins winrate score
    f1 f2 f05 fbeta fscore fmeasure gmean precision recall sensitivity specificity ppv npv tpr tnr
    auc auroc auprc aupr roc prc ap map pck oks pq mota hota
    iou miou giou jaccard dice psnr ssim msssim snr sdr sisdr sisnr stoi pesq mos
    r2 rsquared explained corr correlation pearson pearsonr spearman spearmanr kendall ccc
    concordance cindex kappa qwk mcc matthews informedness youden nse kge
    bleu rouge rougel meteor cider spice chrf bertscore similarity
    ndcg dcg mrr nmi ari ami purity homogeneity completeness vmeasure silhouette modularity
    likelihood loglikelihood loglik ll logprob evidence elbo
    reward rewards return returns profit sharpe utility fitness elo
    """
)
_MORE_PHRASES: Final = (("f", "1"), ("r", "squared"), ("true", "positive"), ("true", "negative"))
_LESS_PHRASES: Final = (("cross", "entropy"),)


def better_of(metric: str, mode: str = "auto") -> str:
    """``"max"`` where more of ``metric`` is better, ``"min"`` where less is.

    ``mode`` says so itself unless it is ``"auto"``. A name that says nothing counts as one
    of which less is better.
    """
    return mode if mode != "auto" else told_by_name(metric) or "min"


def told_by_name(metric: str) -> str | None:
    """Which way the words of its name say, ``"min"`` or ``"max"``; None where none does.

    Words match whole, and a loss or an error stays one whatever it is of: less of
    ``f1_loss`` is better. ``neg_…`` and ``negative_…`` turn round what follows.
    """
    plain = metric.removeprefix("val_")
    turned = re.match(r"(?i)neg(ative)?[\W_]+(?=\w)", plain)
    if turned:
        rest = told_by_name(plain[turned.end() :])
        return {"min": "max", "max": "min", None: None}[rest]
    words, row = set[str](), list[str]()
    for part in re.findall(r"[^\W_]+", plain):
        pieces = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", part)
        row += [piece.lower() for piece in pieces]
        for piece in (part, *pieces, *re.findall(r"[^\W\d]+", part)):
            words.add(piece.lower())
            words.add(piece.lower().rstrip("0123456789"))
    pairs = list(pairwise(row))
    if words & _LESS or any(phrase in pairs for phrase in _LESS_PHRASES):
        return "min"
    if words & _MORE or any(phrase in pairs for phrase in _MORE_PHRASES):
        return "max"
    return None


def assumed(metric: str, mode: str) -> str | None:
    """What is taken for granted about ``metric``, to be told; None where it is known."""
    if mode != "auto" or told_by_name(metric) is not None:
        return None
    return f"less of {metric} is taken to be better, because its name does not tell"
