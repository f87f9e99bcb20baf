"""Commands that can be pasted, a few for each verb: the end of its help."""

#: Examples by verb; each is read by the verb's own parser in a test.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("hwsearch demo -o demo", "hwsearch demo -o quick --trials 12 --limit 100"),
    "ls": ("hwsearch ls devices", "hwsearch ls formats --device apple-m2", "hwsearch ls studies"),
    "inspect": ("hwsearch inspect gsm-mini", "hwsearch inspect gsm-mini --plan bundle/plan.json"),
    "sinks": (
        "hwsearch sinks gsm-mini -o sinks",
        "hwsearch sinks my-model -o sinks --task-path questions.jsonl",
    ),
    "baselines": ("hwsearch baselines gsm-mini -o rows --limit 200 --families cache",),
    "profile": (
        "hwsearch profile --device cpu",
        "hwsearch profile --kit kit --for llama.cpp",
        "hwsearch profile --device my-phone --import results.zip",
    ),
    "predict": (
        "hwsearch predict plan.json --model gsm-mini --device apple-m2",
        "hwsearch predict plan.json --prompt-length 64 --json",
    ),
    "search": (
        "hwsearch search --model gsm-mini --device apple-m2 --target-ratio 0.5 --name half",
        "hwsearch search study.toml --trials 120",
        "hwsearch search study.toml --dry-run",
    ),
    "compare": (
        "hwsearch compare half --devices apple-m2,ryzen-7950x",
        "hwsearch compare --shapes-of gsm-mini --devices apple-m2,ryzen-7950x",
    ),
    "front": (
        "hwsearch front half",
        "hwsearch front half --target-ms 20",
        "hwsearch front half --format csv > front.csv",
    ),
    "report": ("hwsearch report half -o report.html",),
    "export": (
        "hwsearch export half -o bundle",
        "hwsearch export --model gsm-mini --plan plan.json -o bundle --overwrite",
        "hwsearch export half -o model.gguf --to gguf",
    ),
    "verify": ("hwsearch verify bundle", "hwsearch verify bundle --limit 50 --json"),
    "evaluate": (
        "hwsearch evaluate gsm-mini --limit 100",
        "hwsearch evaluate bundle --task gsm8k --task-path gsm8k/ -o scores",
    ),
    "proxies": ("hwsearch proxies", "hwsearch proxies table.csv --resamples 500"),
    "analytical": ("hwsearch analytical digits --samples 4 -o samples",),
    "generate": (
        'hwsearch generate bundle "Tom has 3 apples and buys 4. How many has he?"',
        'hwsearch generate bundle "Why?" --stream --stop "\\n"',
    ),
    "bench": ("hwsearch bench bundle", "hwsearch bench bundle --rounds 5 --json"),
    "web": ("hwsearch web site",),
    "schema": ("hwsearch schema front", "hwsearch schema --all > schema.json"),
    "completion": (
        "hwsearch completion bash > ~/.local/share/bash-completion/completions/hwsearch",
        'hwsearch completion zsh > "${fpath[1]}/_hwsearch"',
        "hwsearch completion fish > ~/.config/fish/completions/hwsearch.fish",
    ),
}

#: How one begins: the end of the help of all.
BEGIN = (
    *EXAMPLES["demo"][:1],
    *EXAMPLES["search"][:1],
    *EXAMPLES["front"][:1],
    *EXAMPLES["export"][:1],
    *EXAMPLES["generate"][:1],
)
