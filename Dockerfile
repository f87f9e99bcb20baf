# Answers questions by an exported bundle: the base package, without torch.
#
#   docker build -t hwsearch .
#   docker run --rm -v "$PWD/fast:/bundle:ro" hwsearch generate /bundle "Tom has 3 apples. He eats 2. How many are left?"

FROM python:3.13-slim AS build
RUN python -m venv /opt/hwsearch
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY latency_tables latency_tables
COPY hwsearch hwsearch
RUN /opt/hwsearch/bin/python -m pip install --no-cache-dir --no-compile -c constraints.txt . \
 && /opt/hwsearch/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 hwsearch
COPY --from=build /opt/hwsearch /opt/hwsearch
ENV PATH="/opt/hwsearch/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
USER 1000
WORKDIR /home/hwsearch
ENTRYPOINT ["hwsearch"]
CMD ["--help"]
