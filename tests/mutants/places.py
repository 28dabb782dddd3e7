"""Where mutants are made, and the tests that are to notice them: the quick ones that know the file best."""

BOUNDARY = "not run and not cached"
SAVING = "tests/model/test_boundary.py::test_the_saving_is_that_of_the_times_measured"
ENSEMBLE = "frozen or joins or bodies or mean_of_what or one_pass or pass_of or passes_of or stacked or memory_once"
TASKS = ("tests/tasks/test_words.py", "tests/tasks/test_multi_label.py")
SINGLE_LABEL = ("tests/test_metrics.py", "tests/train/test_loop.py", "tests/train/test_steps.py")
NO_TORCH = "tests/cli/test_cli.py::test_help_and_what_is_refused_before_images_are_found_import_no_torch[--help]"
LP_FT = "lp-ft or lbfgs or passed or no_torch"
AUTO = "auto or passed or lbfgs or no_torch"
MEAN = "frozen or descent or cycle or mean"

PLACES: dict[str, dict[str, list[str]]] = {  # what is given to pytest, by file
    "metrics": {"transferkit/metrics.py": ["tests/test_metrics.py"]},
    "split": {"transferkit/tasks/split.py": ["tests/tasks/test_split.py"]},
    "tasks": {
        "transferkit/data/label_columns.py": ["tests/data/test_label_columns.py", "tests/tasks/test_words.py"],
        "transferkit/tasks/__init__.py": ["tests/tasks/test_words.py", "tests/tasks/test_multi_label.py"],
        "transferkit/tasks/label_scores.py": ["tests/tasks/test_multi_label.py"],
        "transferkit/tasks/label_sets.py": ["tests/tasks/test_label_sets.py"],
        "transferkit/tasks/multi_label.py": [*TASKS, "tests/tasks/test_label_sets.py"],
        "transferkit/tasks/single_label.py": [*TASKS, *SINGLE_LABEL],
        "transferkit/tasks/task.py": [*TASKS, "tests/test_metrics.py", "tests/tasks/test_split.py"],
    },
    "trust": {
        "transferkit/trust/calibration.py": ["tests/trust/test_calibration.py"],
        "transferkit/trust/familiarity.py": ["tests/trust/test_familiarity.py"],
        "transferkit/trust/sureness.py": ["tests/trust/test_sureness.py"],
        "transferkit/train/power_law.py": ["tests/train/test_power_law.py"],
        "transferkit/train/learning_curve.py": ["tests/train/test_learning_curve.py"],
    },
    "audit": {
        "transferkit/audit/cues.py": ["tests/audit/test_cues.py", "tests/audit/test_shortcuts.py"],
        "transferkit/audit/fixes.py": ["tests/audit/test_fixes.py"],
        "transferkit/audit/shortcuts.py": ["tests/audit/test_shortcuts.py"],
        "transferkit/audit/suspects.py": ["tests/audit/test_suspects.py"],
    },
    "data": {
        "transferkit/data/cells.py": ["tests/data/test_cells.py"],
        "transferkit/data/colour.py": ["tests/data/test_colour.py", "tests/data/test_depth.py", "-k", "not run"],
        "transferkit/data/columns.py": ["tests/data/test_tables.py"],
        "transferkit/data/copies.py": ["tests/data/test_copies.py", "-k", "not run"],
        "transferkit/data/depth.py": ["tests/data/test_depth.py"],
        "transferkit/data/depth_search.py": ["tests/data/test_depth_search.py"],
        "transferkit/data/file_labels.py": ["tests/data/test_file_labels.py"],
        "transferkit/data/grouping.py": ["tests/data/test_grouping.py"],
        "transferkit/data/metadata.py": ["tests/data/test_metadata.py"],
        "transferkit/data/parts.py": ["tests/data/test_parts.py"],
        "transferkit/data/table.py": ["tests/data/test_tables.py", "tests/data/test_metadata.py"],
        "transferkit/data/table_rows.py": ["tests/data/test_tables.py"],
        "transferkit/data/table_text.py": ["tests/data/test_tables.py"],
        "transferkit/data/tree.py": ["tests/data/test_tree.py", "tests/data/test_folder.py"],
    },
    "ship": {
        "transferkit/ship/compare.py": ["tests/ship/test_compare.py"],
        "transferkit/ship/ensemble.py": ["tests/ship/test_joined_calibration.py"],
        "transferkit/ship/exporters/photo_graph.py": ["tests/ship/test_export.py", "-k", "bit_for_bit or lacks"],
        "transferkit/ship/exporters/resampling.py": ["tests/ship/test_export.py", "-k", "bit_for_bit"],
        "transferkit/ship/placing.py": ["tests/ship/test_sorting.py"],
        "transferkit/ship/sorting.py": ["tests/ship/test_sorting.py"],
        "transferkit/ship/unseen_file.py": ["tests/ship/test_joined_calibration.py"],
        "transferkit/trust/unseen.py": ["tests/ship/test_joined_calibration.py"],
    },
    "files": {"zoo/files.py": ["tests/zoo/test_writing.py", "tests/zoo/test_files.py"]},
    "model": {
        "transferkit/model/boundary.py": [
            "tests/model/test_kept_activations.py",
            "tests/model/test_boundary.py",
            "-k",
            BOUNDARY,
        ],
        "transferkit/model/build.py": ["tests/model/test_build.py"],
        "transferkit/model/ensemble.py": [
            "tests/model/test_ensemble.py",
            "tests/ship/test_ensemble.py",
            "-k",
            ENSEMBLE,
        ],
        "transferkit/model/eval_batch.py": ["tests/model/test_eval_batch.py"],
        "transferkit/model/feature_cache.py": ["tests/model/test_feature_cache.py"],
        "transferkit/model/features.py": ["tests/model/test_features.py"],
        "transferkit/model/freezer.py": ["tests/model/test_freezer.py"],
        "transferkit/model/head.py": ["tests/model/test_freezer.py"],
        "transferkit/model/network_cache.py": ["tests/model/test_network_cache.py"],
        "transferkit/model/precision.py": ["tests/model/test_timings.py", "tests/model/test_precision.py"],
        "transferkit/model/timings.py": ["tests/model/test_timings.py", "tests/model/test_precision.py", SAVING],
    },
    "train": {
        "transferkit/train/average.py": ["tests/train/test_average.py"],
        "transferkit/train/clipping.py": ["tests/train/test_clipping.py"],
        "transferkit/train/context.py": ["tests/train/test_told.py"],
        "transferkit/train/descent.py": [
            "tests/train/test_told.py",
            "tests/train/test_descent.py",
            "tests/train/test_divergence.py",
        ],
        "transferkit/train/ensemble.py": ["tests/train/test_descent.py", "tests/ship/test_ensemble.py", "-k", MEAN],
        "transferkit/train/feature_blocks.py": ["tests/train/test_probe.py", "tests/train/test_head.py"],
        "transferkit/train/first_pass.py": ["tests/train/test_first_pass.py"],
        "transferkit/train/fitted.py": [
            "tests/train/test_told.py",
            "tests/train/test_divergence.py",
            "tests/train/test_mirror.py",
        ],
        "transferkit/train/full_batch.py": ["tests/train/test_full_batch.py", "-k", "not run_resumes"],
        "transferkit/train/head.py": ["tests/train/test_head.py", "-k", "not minimum"],
        "transferkit/train/keeping.py": [
            "tests/train/test_keeping.py",
            "tests/faults/test_first_pass.py",
            "-k",
            "not killed",
        ],
        "transferkit/train/label_trial.py": ["tests/train/test_label_trial.py", "-k", "not goes_on and not reads_no"],
        "transferkit/train/lbfgs.py": ["tests/train/test_lbfgs.py", "tests/train/test_probe.py"],
        "transferkit/train/loader.py": ["tests/train/test_views.py", "tests/train/test_told.py"],
        "transferkit/train/loop.py": [
            "tests/train/test_steps.py",
            "tests/train/test_loop.py",
            "tests/train/test_step.py",
        ],
        "transferkit/train/lr_find.py": ["tests/train/test_lr_find.py"],
        "transferkit/train/mixing.py": ["tests/train/test_mixing.py"],
        "transferkit/train/modes.py": [
            "tests/train/test_fitted.py",
            "tests/train/test_divergence.py",
            "-k",
            "frozen or starts_at or keeps or leaves",
        ],
        "transferkit/train/objective.py": ["tests/train/test_probe.py"],
        "transferkit/train/optim.py": ["tests/train/test_optim.py", "tests/train/test_step.py"],
        "transferkit/train/plan.py": ["tests/train/test_descent.py", "tests/train/test_loop.py"],
        "transferkit/train/probe.py": ["tests/train/test_probe.py"],
        "transferkit/train/problem.py": ["tests/train/test_head.py"],
        "transferkit/train/replica.py": [
            "tests/train/test_replica.py",
            "tests/test_ranks.py",
            "-k",
            "not waits_in_vain",
        ],
        "transferkit/train/step.py": ["tests/train/test_step.py", "tests/train/test_steps.py"],
        "transferkit/train/strategies/__init__.py": ["tests/train/test_strategies.py"],
        "transferkit/train/schedule.py": ["tests/train/test_schedule.py"],
        "transferkit/train/selection.py": ["tests/train/test_probe.py"],
        "transferkit/train/state.py": ["tests/train/test_state.py", "tests/train/test_descent.py"],
        "transferkit/train/strategies/auto.py": [
            "tests/train/test_strategies.py",
            "tests/train/test_fitted.py",
            "tests/train/test_divergence.py",
            NO_TORCH,
            "-k",
            AUTO,
        ],
        "transferkit/train/strategies/base.py": ["tests/train/test_strategies.py", "tests/test_config.py"],
        "transferkit/train/strategies/finetune.py": [
            "tests/train/test_strategies.py",
            "tests/train/test_divergence.py",
            NO_TORCH,
        ],
        "transferkit/train/strategies/full_batch.py": ["tests/train/test_strategies.py", "tests/test_config.py"],
        "transferkit/train/strategies/lp_ft.py": [
            "tests/train/test_strategies.py",
            "tests/train/test_fitted.py",
            NO_TORCH,
            "-k",
            LP_FT,
        ],
        "transferkit/train/strategies/probe.py": ["tests/train/test_strategies.py", "tests/test_config.py"],
        "transferkit/train/views.py": ["tests/train/test_views.py"],
    },
}
for place in ("model", "train"):
    for tests in PLACES[place].values():
        tests.insert(0, "tests/test_dataclasses.py")
