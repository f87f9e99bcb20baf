"""The adapter against the harness's own Hugging Face model, on the same requests."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.api.model import CachingLM
from lm_eval.filters.extraction import RegexFilter
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import CheckpointError, InputError
from hwsearch.jobs.lm_harness.model import HarnessModel
from hwsearch.jobs.lm_harness.texts import conversation, token_limit
from hwsearch.tasks.extraction import COT_STRICT, FLEXIBLE, IGNORED, STRICT, exact_match
from hwsearch.tasks.gsm8k import gsm8k, read_split
from hwsearch.tasks.likelihood import log_likelihood
from tests.denoisers.checkpoints import VOCAB, stock_config, stock_logits, stock_model, write

SPECIAL = ("<mask>", "<eot>", "<unk>", "<bos>", "<|im_end|>")
WORDS = (
    "tom",
    " tom",
    " has",
    " apples",
    " and",
    "Q",
    ":",
    "?",
    ".",
    "\n",
    "\n\n",
    " ",
    "  ",
    " 7",
)
CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}[/]\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TRIMS = CHAT.replace("m.content", "m.content | trim")
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT
)

TEXTS = (
    "",
    " ",
    "tom has 7",
    "tom has 7 apples \n",
    "Q: tom?\n\n",
    "<bos>tom has",
    " <bos>tom",
    "<eot>tom",
    "tom<|im_end|>\n tom",
    "xyz tom",
)


def tokenizer_of(adds_bos: bool) -> Tokenizer:
    filler = (f" w{n}" for n in range(VOCAB - len(SPECIAL) - len(WORDS)))
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS, *filler))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+| ?[A-Za-z0-9]+|.| +"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    if adds_bos:
        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 3)]
        )
    return tokenizer


def sharp():
    """A stock model sharper than random, so that an argmax is no matter of rounding."""
    model = stock_model("Llama")
    model.lm_head.weight.data *= 3
    return model


def folder_of(path: Path, *, adds_bos=True, bos="<bos>", causal=True, template=CHAT) -> Path:
    decoding = {"gen_length": 6, "block_length": 1 if causal else 3, "steps": 6}
    own = {"causal": causal, "decoding": decoding | {"refresh_interval": 1}}
    config = stock_config("llama") | {"hwsearch": own, "max_position_embeddings": 48}
    write(path, config, dict(sharp().state_dict()))
    tokenizer_of(adds_bos).save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eot>"}
    settings |= {"chat_template": template} | ({"bos_token": bos} if bos else {})
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def asked(*arguments):
    return [SimpleNamespace(args=args, task_name="t") for args in arguments]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model that reads forward, so that both define everything alike."""
    folder = folder_of(tmp_path_factory.mktemp("causal") / "m")
    return HarnessModel(str(folder)), HFLM(str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize(("adds_bos", "bos"), [(True, "<bos>"), (False, "<bos>"), (False, None)])
def test_texts_become_the_same_tokens(tmp_path, adds_bos, bos):
    folder = folder_of(tmp_path / "m", adds_bos=adds_bos, bos=bos)
    for add in (None, True, False):
        ours = HarnessModel(str(folder), add_bos_token=add)
        theirs = HFLM(str(folder), device="cpu", dtype="float32", add_bos_token=add)
        assert ours.prefix_token_id == theirs.prefix_token_id
        assert ours.eot_token_id == theirs.eot_token_id
        assert ours.tokens.max_length == theirs.max_length
        for text in TEXTS:
            for special in (None, True, False):
                found = ours.tok_encode(text, add_special_tokens=special)
                wanted = theirs.tok_encode(text, add_special_tokens=special)
                if special is not True or add is None:
                    assert found == wanted, (text, add, special)
            (wanted,) = theirs.tok_batch_encode([text])[0].tolist()
            assert ours.tokens.context(text, 6) == [int(t) for t in wanted or [3 if bos else 1]]
            if text.strip():
                assert ours._encode_pair(text, " tom has") == theirs._encode_pair(text, " tom has")


PAIRS = (
    ("", " tom has 7"),
    ("", "<bos> tom"),
    ("tom has", " apples and tom"),
    ("tom has ", "apples"),
    ("tom has  \n", "tom and"),
    ("tom has\n\n", "Q: tom"),
    ("tom", " has"),
    ("tom", " apples"),
    ("tom", " 7 apples"),
    ("<bos>tom", "?"),
    (" tom has 7 apples" * 20, " and tom has"),
)


@pytest.mark.parametrize("batch", [1, 3])
def test_log_likelihoods_of_a_model_that_reads_forward_are_the_same(pair, batch):
    ours, theirs = pair
    ours.batch = batch
    found = ours.loglikelihood(asked(*PAIRS), disable_tqdm=True)
    wanted = theirs.loglikelihood(asked(*PAIRS), disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in wanted], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    texts = [(text,) for text in (*TEXTS[2:], " tom has 7 apples" * 40)]
    rolling = ours.loglikelihood_rolling(asked(*texts), disable_tqdm=True)
    assert rolling == pytest.approx(theirs.loglikelihood_rolling(asked(*texts)), abs=1e-3)


def test_what_is_written_greedily_is_greedy(pair):
    ours, theirs = pair
    for context in ("tom has", "Q: tom"):
        text = ours.generate_until(asked((context, {"until": [], "max_gen_toks": 2})))[0]
        (found,) = ours.loglikelihood(asked((context, text)), disable_tqdm=True)
        (wanted,) = theirs.loglikelihood(asked((context, text)), disable_tqdm=True)
        assert found[1] == wanted[1]


def test_generations_of_a_model_that_reads_forward_are_the_same(pair):
    ours, theirs = pair
    contexts = ["tom has", "Q: tom", " tom has 7 apples" * 20, "tom", "<bos>tom has", "?\n\n"]
    free = theirs.generate_until(
        asked(*((c, {"until": [], "max_gen_toks": 7}) for c in contexts)), True
    )
    # stops that do occur: a whole word of each text, and letters inside one
    stops = [text[2:5] for text in free if len(text) > 5]
    kinds = [[], "\n\n", stops, stops[0], ["nowhere", *stops[:2]], stops[::-1]]
    requests = [
        (context, {"until": until, limit: count})
        for context in contexts
        for until in kinds
        for limit, count in (("max_gen_toks", 7), ("max_new_tokens", 3))
    ]
    random.Random(0).shuffle(requests)
    wanted = theirs.generate_until(asked(*requests), True)
    for batch in (1, 4):
        ours.batch = batch
        found = ours.generate_until(asked(*requests))
        assert found == wanted
    assert len(set(wanted)) > 10
    assert any(len(text) < len(longer) for text, longer in zip(wanted, free, strict=False))


def test_a_masked_model_gets_the_same_prompts_and_scores_one_token_exactly(tmp_path):
    folder = folder_of(tmp_path / "m", causal=False)
    ours, denoiser = HarnessModel(str(folder), mc_num=4), load_denoiser(folder)
    context = [3, *denoiser.tokenizer.encode("tom has", add_special_tokens=False).ids]
    answer = denoiser.tokenizer.encode(" apples", add_special_tokens=False).ids
    ((value, _),) = ours.loglikelihood(asked(("tom has", " apples")), disable_tqdm=True)
    assert value == pytest.approx(log_likelihood(denoiser, context, answer))
    logits = stock_logits(sharp(), torch.tensor([[*context, denoiser.mask_token_id]]))
    exact = logits[0, -1].log_softmax(-1)[answer[0]]
    assert value == pytest.approx(float(exact), abs=1e-3)
    # a masked model writes its own length; a request's limit cuts it
    (whole,) = ours.generate_until(asked(("tom has", {"max_gen_toks": 99})))
    (three,) = ours.generate_until(asked(("tom has", {"max_gen_toks": 3})))
    assert whole.startswith(three)


def test_too_long_a_continuation_or_generation_is_one_line(tmp_path):
    ours = HarnessModel(str(folder_of(tmp_path / "m", causal=False)), max_length=6)
    with pytest.raises(InputError, match="a continuation of 9 tokens does not fit"):
        ours.loglikelihood(asked(("tom", " tom" * 9)), disable_tqdm=True)
    with pytest.raises(InputError, match="gen_length 6 must be less than the model's 6 positions"):
        ours.generate_until(asked(("tom", {})))
    with pytest.raises(InputError, match="no token to score"):
        ours.loglikelihood(asked(("tom", "")), disable_tqdm=True)


HISTORIES = (
    [("user", "tom has 7?")],
    [("system", "be kind"), ("user", "tom?"), ("assistant", "7"), ("user", "and ?")],
    [("system", " be "), ("user", " tom ? \n")],
)
PREFILLS = ("Answer:", "The answer is ", " so\n", "tom")


@pytest.mark.parametrize("template", [CHAT, TRIMS, NO_SYSTEM])
def test_conversations_read_as_the_harness_reads_them(tmp_path, pair, template):
    _, theirs = pair
    before, theirs.tokenizer.chat_template = theirs.tokenizer.chat_template, template
    chat = ChatTemplate(template)
    try:
        for history in HISTORIES:
            messages = [{"role": role, "content": content} for role, content in history]
            assert conversation(chat, messages, True) == theirs.apply_chat_template(messages, True)
            for prefill in PREFILLS:
                more = [*messages, {"role": "assistant", "content": prefill}]
                assert conversation(chat, more, False) == theirs.apply_chat_template(more, False)
    finally:
        theirs.tokenizer.chat_template = before


def test_a_template_that_drops_the_prefill_says_so():
    chat = ChatTemplate("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    messages = [{"role": "user", "content": "tom"}, {"role": "assistant", "content": "7"}]
    with pytest.raises(CheckpointError, match="leaves out the message that is to be continued"):
        conversation(chat, messages, False)


def test_limits_by_any_of_their_names():
    assert token_limit({}) is None
    assert token_limit({"max_tokens": 4, "max_gen_toks": 3}) == 3
    assert token_limit({"max_completion_tokens": "5", "max_gen_toks": None}) == 5


def test_answers_are_cached_and_found_again(pair, tmp_path):
    ours, _ = pair
    cached = CachingLM(ours, str(tmp_path / "cache.db"))
    requests = asked(("tom has", {"until": ["\n"], "max_gen_toks": 3}), ("tom", {"until": []}))
    first = cached.generate_until(requests)
    scores = cached.loglikelihood(asked(*PAIRS[:3]))
    rolling = cached.loglikelihood_rolling(asked(("tom has",)))
    # each answer is stored when it is there: a run that was stopped goes on
    assert len(cached.dbdict) == len(first) + len(scores) + len(rolling)
    ours.generate_until = ours.loglikelihood = None
    try:
        assert cached.generate_until(requests) == first
        assert cached.loglikelihood(asked(*PAIRS[:3])) == scores
    finally:
        del ours.generate_until, ours.loglikelihood


ENDINGS = (
    *(
        "#### 18",
        "#### 18.",
        "#### $18",
        "#### -18",
        "#### 1,800",
        "#### 18 apples\n#### 19",
        "####18",
    ),
    *("The answer is 18.", "The answer is 18", "The answer is $18.", "The answer is -1,8.5. The"),
    *("#### 18\n", "#### .", "#### ,,", "$", "$$", "--5", "-$5", "5-", "...", "#### ٣", "#### 1８"),
    *(
        "1,024.",
        "$1,024.50",
        "18%",
        "18.0",
        "018",
        "#### 18.00",
        "#### 18 ",
        "#### \n18",
        "İ 5",
        "",
    ),
)
GOLDS = (
    "18",
    "1,800",
    "$18",
    "18.",
    "-18",
    "x\n#### 18",
    "x #### 5\n#### 1,024",
    "#### 18\n",
    "18.0",
)


def test_answers_are_found_and_matched_as_the_harness_does():
    rng = random.Random(5)
    letters = [*"0189.,$-# \n", "#### ", "The answer is "]
    texts = [*ENDINGS, *("".join(rng.choices(letters, k=rng.randrange(12))) for _ in range(1500))]
    for rule in (STRICT, FLEXIBLE, COT_STRICT):
        theirs = RegexFilter(rule.pattern, rule.pick).apply([texts], [{}])
        assert [rule.extract(text) for text in texts] == next(iter(theirs))
    for text in texts[:400]:
        for gold in GOLDS:
            score = exact_match_hf_evaluate([text], [gold], list(IGNORED), ignore_case=True)
            assert exact_match(text, gold) == bool(score["exact_match"]), (text, gold)


def test_the_rules_are_those_of_the_installed_task():
    import lm_eval
    import yaml

    folder = Path(lm_eval.__file__).parent / "tasks" / "gsm8k"
    for name, strict in (("gsm8k.yaml", STRICT), ("gsm8k-cot.yaml", COT_STRICT)):
        task = yaml.safe_load((folder / name).read_text("utf-8"))
        rules = [entry["filter"][0] for entry in task["filter_list"]]
        assert [rule["regex_pattern"] for rule in rules] == [strict.pattern, FLEXIBLE.pattern]
        assert [rule.get("group_select", 0) for rule in rules] == [strict.pick, FLEXIBLE.pick]
        assert tuple(task["metric_list"][0]["regexes_to_ignore"]) == IGNORED


TASK = """
task: local_gsm8k
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}}}
training_split: train
fewshot_split: train
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["Question:", "</s>", "<|im_end|>"], do_sample: false}}
num_fewshot: 5
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def test_prompts_and_golds_of_gsm8k_are_the_harnesss(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    odd = ("\u2028", "\u0085", " ", "\n", "é", "{{x}}", "<<1+1=2>>")
    for split, count in (("train", 9), ("test", 4)):
        rows = (
            {
                "question": f"{split}{odd[i % 7]}{i}?",
                "answer": f"It is{odd[i % 7]}so.\n#### 1,{i:03}",
            }
            for i in range(count)
        )
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text, "utf-8")
    (tmp_path / "local.yaml").write_text(TASK.format(folder=tmp_path))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    theirs = manager.load(["local_gsm8k"])["tasks"]["local_gsm8k"]
    theirs.set_fewshot_seed(1234)
    theirs.build_all_requests(limit=None, rank=0, world_size=1)
    task, problems = gsm8k(tmp_path), read_split(tmp_path, "test")
    ours = [task.prompt(index, problem) for index, problem in enumerate(problems)]
    assert ours == [instance.args[0] for instance in theirs.instances]
    assert list(task.stops) == theirs.instances[0].args[1]["until"]
    golds = [theirs.doc_to_target(instance.doc) for instance in theirs.instances]
    assert [problem.answer for problem in problems] == golds
