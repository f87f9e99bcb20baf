from hwsearch.decoding.batches import groups_of_equal_length


def test_groups_share_a_length_and_hold_every_prompt_once():
    prompts = [[0] * n for n in (3, 2, 3, 3, 5, 2, 3)]
    groups = list(groups_of_equal_length(prompts, 3))
    assert sorted(index for group in groups for index in group) == list(range(7))
    assert all(len({len(prompts[i]) for i in group}) == 1 for group in groups)
    assert max(map(len, groups)) == 3
