from transferkit import seeds


def test_a_draw_is_a_function_of_all_four_arguments():
    base = (0, "augment", 1, 2)
    others = [
        (1, "augment", 1, 2),
        (0, "order", 1, 2),
        (0, "augment", 2, 2),
        (0, "augment", 1, 3),
        (0, "augment", 12, 0),
    ]
    draws = {seeds.integer(*arguments) for arguments in [base, *others]}
    assert len(draws) == len(others) + 1
    assert seeds.integer(*base) == seeds.integer(*base)


def test_draws_do_not_change_between_versions():
    assert [seeds.integer(0, "split"), seeds.integer(7, "order", 3, 5)] == [577709785, 1272661613]
