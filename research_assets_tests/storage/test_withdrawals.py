"""The log of withdrawals: durable, without content, and readable when its end or a line is damaged."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from research_assets.storage.withdrawals import (
    Withdrawal,
    WithdrawalError,
    append_withdrawals,
    hash_handle,
    key_path,
    load_or_create_key,
    log_path,
    read_withdrawals,
    read_withdrawn,
)

AT = datetime(2026, 6, 1, 9, tzinfo=UTC)
VIDEO = 7602014558564353972


def append(state: Path, *handles: str, videos: tuple[int, ...] = ()) -> None:
    state.mkdir(exist_ok=True)
    key = load_or_create_key(state)
    append_withdrawals(
        state,
        [
            *(Withdrawal("account", hash_handle(key, one), AT, "forgotten", "r1") for one in handles),
            *(Withdrawal("video", one, AT, "forgotten", "r1") for one in videos),
        ],
    )


def test_log_names_no_account_and_recognizes_every_spelling(tmp_path: Path) -> None:
    append(tmp_path, "Anna_K", videos=(VIDEO,))
    assert b"nna" not in log_path(tmp_path).read_bytes().lower()
    assert log_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert key_path(tmp_path).stat().st_mode & 0o777 == 0o600
    withdrawn = read_withdrawn(tmp_path)
    assert withdrawn.videos == {VIDEO}
    assert all(withdrawn.has_account(name) for name in ("anna_k", "ANNA_K", "@Anna_K"))
    assert not withdrawn.has_account("anna")
    assert not withdrawn.has_account(None)
    assert [one.at for one in read_withdrawals(tmp_path)] == [AT, AT]


def test_log_is_read_again_after_another_append(tmp_path: Path) -> None:
    append(tmp_path, videos=(VIDEO,))
    assert read_withdrawn(tmp_path).videos == {VIDEO}
    append(tmp_path, videos=(VIDEO + 1,))
    assert read_withdrawn(tmp_path).videos == {VIDEO, VIDEO + 1}


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_line_that_a_kill_cut_off_is_ignored_and_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    append(tmp_path, videos=(VIDEO, VIDEO + 1))
    path = log_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    withdrawn = read_withdrawn(tmp_path)
    # A line that lacks only its line feed was written completely, but is not acknowledged.
    assert withdrawn.videos == {VIDEO}
    assert withdrawn.n_damaged == 0
    append(tmp_path, videos=(VIDEO + 2,))
    assert {VIDEO, VIDEO + 2} <= read_withdrawn(tmp_path).videos


def test_damaged_line_is_counted_and_all_others_are_read(tmp_path: Path) -> None:
    append(tmp_path, videos=(VIDEO, VIDEO + 1, VIDEO + 2))
    path = log_path(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"video", b"vIdeo")
    path.write_bytes(b"".join(lines))
    withdrawn = read_withdrawn(tmp_path)
    assert withdrawn.videos == {VIDEO, VIDEO + 2}
    assert withdrawn.n_damaged == 1


def test_lost_key_is_an_error_because_accounts_could_not_be_recognized(tmp_path: Path) -> None:
    append(tmp_path, "anna")
    key_path(tmp_path).unlink()
    with pytest.raises(WithdrawalError, match="Restore the file from a backup"):
        load_or_create_key(tmp_path)
