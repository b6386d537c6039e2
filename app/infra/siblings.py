"""One scrape target for a container, however many web processes it has."""

from collections.abc import Iterator, Sequence
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SECONDS = 1.0  # for another process to answer; Prometheus waits ten in all


class AllProcesses(Collector):
    """The metrics of this process and of the others, told apart by the label `process`.

    The label is the port on which the process serves its own metrics. A process that does not
    answer is left out.
    """

    def __init__(self, own: CollectorRegistry, port: int, others: Sequence[int]) -> None:
        self._own = own
        self._port = port
        self._others = others
        self._opener = build_opener(ProxyHandler({}))  # no proxy that the environment names

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for port, text in self._texts():
            for family in text_string_to_metric_families(text):
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "process": str(port)}
                    metric.samples.append(sample._replace(labels=labels))
        yield from merged.values()

    def _texts(self) -> Iterator[tuple[int, str]]:
        yield self._port, generate_latest(self._own).decode()
        for port in self._others:
            try:
                with self._opener.open(
                    f"http://127.0.0.1:{port}/metrics", timeout=SECONDS
                ) as answer:
                    yield port, answer.read().decode()
            except (URLError, OSError):
                continue
