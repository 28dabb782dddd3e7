from transferkit.zoo import removal


def test_what_our_writers_left_goes_and_what_only_looks_like_it_stays(tmp_path):
    ours = [".net.77.tmp", ".net.abcd_123"]
    for name in ours:
        (tmp_path / name).mkdir()
    users = [".net.original", ".net.20260110", ".other.77.tmp", ".net.77.tmp.txt", "net.77.tmp"]
    for name in users:
        (tmp_path / name).write_text("mine")  # a scratch folder is a folder: a file of such a name is somebody's
    (tmp_path / ".net.linked12").symlink_to(tmp_path)
    removal.sweep(tmp_path, "net")
    assert {path.name for path in tmp_path.iterdir()} == {*users, ".net.linked12"}
