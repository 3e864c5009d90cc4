"""Memory that is free is that of the machine, or of the control group that holds the process."""

from pathlib import Path

from voxelome import memory


def test_the_limit_of_a_control_group_counts_where_it_is_lower(tmp_path: Path) -> None:
    group = tmp_path / "slurm" / "job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    (group.parent / "memory.max").write_text("5000000\n")
    (group.parent / "memory.current").write_text("3000000\n")
    (group.parent / "memory.stat").write_text("anon 1000000\ninactive_file 1500000\n")
    assert memory._group_free(tmp_path, "/slurm/job", "memory.max", "memory.current") == 3_500_000
    assert memory.memory_free() > 0
