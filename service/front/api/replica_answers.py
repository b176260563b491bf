"""The replicas of a base model on several machines, as its page shows them."""

from pydantic import BaseModel, Field

from service.protocol.stats import ReplicaStats


class ReplicaAnswer(BaseModel):
    name: str = Field(description="As Ray Serve calls it.", examples=["q7k2m9xa"])
    node: str = Field(description="The address of its machine.", examples=["10.0.0.7"])
    pid: int = Field(description="The model's process there.", examples=[4711])
    rss_bytes: int = Field(description="Its memory, what it shares with others included.", examples=[540000000])
    age_s: float = Field(description="Seconds since it was started.", examples=[86400.0])
    waiting: int = Field(description="Requests that wait there.", examples=[0])
    texts: int = Field(description="Texts that it writes.", examples=[3])
    resident: int = Field(description="Adapter versions in its memory.", examples=[16])
    bytes: int = Field(description="What these take.", examples=[67108864])
    pinned: int = Field(description="Of these, the ones that stay there.", examples=[1])


def show_replica(stats: ReplicaStats) -> ReplicaAnswer:
    return ReplicaAnswer(
        name=stats.name,
        node=stats.node,
        pid=stats.pid,
        rss_bytes=stats.rss_bytes,
        age_s=stats.age_s,
        waiting=stats.waiting,
        texts=stats.texts,
        resident=stats.resident,
        bytes=stats.bytes,
        pinned=stats.pinned,
    )
