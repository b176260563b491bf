"""Which replicas have computed a prompt's beginning."""

from service.cluster.prefix_holders import COPIES, PrefixHolders


def test_the_holders_of_the_longest_known_prefix_are_named() -> None:
    holders = PrefixHolders()
    holders.record("short", "a")
    holders.record("long", "b")
    assert holders.holders(("short", "long", "longer")) == ("b",)


def test_the_last_few_replicas_of_a_prefix_are_remembered() -> None:
    holders = PrefixHolders()
    for number in range(10):
        holders.record("short", f"r{number}")
    assert len(holders.holders(("short",))) == COPIES
    assert holders.holders(("short",))[0] == "r9"


def test_a_replica_has_a_share_of_the_prefixes() -> None:
    holders = PrefixHolders()
    holders.record("short", "a")
    assert holders.share(("short", "long"), "a") == 0.5


def test_prefixes_that_were_sent_long_ago_are_forgotten() -> None:
    holders = PrefixHolders(most=10)
    for number in range(100):
        holders.record(f"p{number}", "a")
    assert holders.holders(("p0",)) == ()
    assert holders.holders(("p99",)) == ("a",)
