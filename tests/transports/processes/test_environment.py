from service.transports.processes.environment import host_environment

FRONT = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "OMP_WAIT_POLICY": "PASSIVE",
    "AWS_REGION": "here",
    "HTTPS_PROXY": "http://user:password@proxy",
    "HF_HOME": "/models",
    "HF_TOKEN": "secret",
    "PGPASSWORD": "secret",
    "DATABASE_URL": "secret",
    "ADAPTER_SERVICE_ADMIN_KEY": "secret",
    "LICENCE_OF_A_FACTORY": "paid",
}
PASSED = {"PATH": "/bin", "LC_ALL": "C", "OMP_WAIT_POLICY": "PASSIVE", "HF_HOME": "/models"}


def passed(more: tuple[str, ...] = (), *, blobs_in_s3: bool = False) -> dict[str, str]:
    found = host_environment(FRONT, more, blobs_in_s3=blobs_in_s3)
    assert found.pop("OPENBLAS_NUM_THREADS") == "1"
    assert found.pop("MKL_CBWR") == "AUTO,STRICT"
    return found


def test_hosts_get_the_variables_on_the_list_alone() -> None:
    assert passed() == PASSED


def test_an_operator_adds_what_factories_need_but_never_the_services_own() -> None:
    needed = {"LICENCE_OF_A_FACTORY": "paid", "HF_TOKEN": "secret"}
    assert passed(tuple(needed)) == PASSED | needed
    assert passed(("PGPASSWORD", "DATABASE_URL", "ADAPTER_SERVICE_ADMIN_KEY")) == PASSED


def test_keys_of_a_bucket_are_passed_where_blobs_lie_in_one() -> None:
    bucket = {"AWS_REGION": "here", "HTTPS_PROXY": "http://user:password@proxy"}
    assert passed(blobs_in_s3=True) == PASSED | bucket


def test_an_operators_own_threads_for_numpy_and_for_torch_stand() -> None:
    own = {"OPENBLAS_NUM_THREADS": "4", "OMP_WAIT_POLICY": "active", "MKL_CBWR": "AVX2"}
    assert host_environment(own) == own
