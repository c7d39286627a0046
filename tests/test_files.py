"""Nothing is written half."""

import pytest

from helpers.files import written_whole


def test_written_whole_leaves_the_new_file_alone(tmp_path):
    with written_whole(tmp_path / "deep" / "a.txt") as path:
        assert path.parent == tmp_path / "deep" and path.suffix == ".txt"
        path.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new" and len(
        list((tmp_path / "deep").iterdir())
    ) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_written_whole_leaves_nothing_on_failure(tmp_path, error):
    with pytest.raises(error), written_whole(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_written_whole_keeps_the_old_file_on_failure(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
