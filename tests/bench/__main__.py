"""`make bench`: every figure, one line each. `make bench ARGS=injecting` takes the named ones."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from transformers.utils import logging

from service.demo.base_models import prepare_base_models
from tests.bench.against_vllm import comparing
from tests.bench.arithmetic import computing
from tests.bench.authentication import authenticating
from tests.bench.batches import mixing
from tests.bench.binary import sending
from tests.bench.callers import calling
from tests.bench.cluster import clustering
from tests.bench.crowd import crowding
from tests.bench.deaths import dying
from tests.bench.downloads import downloading
from tests.bench.fairness import being_fair
from tests.bench.figures import Count, Figure, Share
from tests.bench.fleet import simulating
from tests.bench.hop import hopping
from tests.bench.hostile import attacking
from tests.bench.injection import injecting, loading
from tests.bench.joining import joining
from tests.bench.overlap import overlapping
from tests.bench.pairs import pairing
from tests.bench.persisting import persisting
from tests.bench.registry import registering
from tests.bench.residency import residing
from tests.bench.serving import serving
from tests.bench.sizing import sizing
from tests.bench.starting import starting
from tests.bench.statements import asking
from tests.bench.texts import writing

MODELS = Path("var/models")
BENCHES: Mapping[str, Callable[[Path], Iterator[Figure | Count | Share]]] = {
    "injecting": injecting,
    "loading": loading,
    "mixing": mixing,
    "joining": joining,
    "computing": computing,
    "writing": writing,
    "overlapping": overlapping,
    "calling": calling,
    "comparing": comparing,
    "residing": residing,
    "serving": serving,
    "hopping": hopping,
    "pairing": pairing,
    "dying": dying,
    "starting": starting,
    "sizing": sizing,
    "crowding": crowding,
    "sending": sending,
    "downloading": downloading,
    "asking": asking,
    "persisting": persisting,
    "registering": registering,
    "hostile": attacking,
    "fairness": being_fair,
    "authenticating": authenticating,
    "fleet": simulating,
    "cluster": clustering,
}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    prepare_base_models(MODELS)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; smollm2, rank 16, every linear layer")
    for name in sys.argv[1:] or BENCHES:
        for figure in BENCHES[name](MODELS / "smollm2"):
            print(figure, flush=True)


if __name__ == "__main__":
    main()
