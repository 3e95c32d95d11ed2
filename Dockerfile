# syntax=docker/dockerfile:1
# Targets: cpu (default) and gpu. Both run as a user without privileges and hold no data: mount the lake at /lake.
#   docker build --target cpu --tag intarsia:cpu .
#   docker run --rm --publish 127.0.0.1:8000:8000 --volume lake:/lake intarsia:cpu serve --lake /lake --host 0.0.0.0
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY platform platform
COPY pipelines pipelines
COPY serve_apps serve_apps
COPY tune_spaces tune_spaces
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm AS base
# hadolint ignore=DL3064
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    TOKENIZERS_PARALLELISM=false
RUN groupadd --gid 10001 intarsia \
    && useradd --uid 10001 --gid intarsia --create-home intarsia \
    && mkdir /lake \
    && chown intarsia:intarsia /lake
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
VOLUME /lake
EXPOSE 8000
ENTRYPOINT ["intarsia"]
CMD ["--help"]

# CUDA libraries come with PyTorch's Linux wheels; the host needs the NVIDIA container toolkit.
FROM base AS gpu
RUN python -m pip install --no-cache-dir --constraint /tmp/constraints.txt "$(echo /wheels/intarsia-*.whl)[all]"
USER 10001:10001
WORKDIR /home/intarsia

# Give TORCH_INDEX, the index of PyTorch's CPU wheels, for an image that is about 5 GB smaller.
FROM base AS cpu
ARG TORCH_INDEX=""
RUN grep -vE '^(nvidia-|cuda-|triton)' /tmp/constraints.txt > /tmp/cpu.txt \
    && python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} \
        "$(grep -E '^torch==' /tmp/cpu.txt)" "$(grep -E '^torchvision==' /tmp/cpu.txt)" \
    && python -m pip install --no-cache-dir --constraint /tmp/cpu.txt "$(echo /wheels/intarsia-*.whl)[all]"
USER 10001:10001
WORKDIR /home/intarsia
