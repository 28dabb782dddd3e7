# CPUs:         docker build -t transferkit .
# NVIDIA GPUs:  docker build -t transferkit --build-arg TORCH=cuda .
# then:         docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" transferkit finetune photos   (GPUs: --gpus all)
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
ARG EXTRAS=photos,export
COPY . /source
RUN case "$TORCH" in \
        cpu) index=https://download.pytorch.org/whl/cpu ;; \
        cuda) index= ;; \
        *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 2 ;; \
    esac \
    && python -m venv /opt/transferkit \
    && if [ "$index" ]; then /opt/transferkit/bin/pip install --no-cache-dir torch torchvision --index-url "$index"; fi \
    && /opt/transferkit/bin/pip install --no-cache-dir "/source[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/transferkit /opt/transferkit
RUN useradd --create-home user && mkdir -m 1777 /cache
# whoever runs it (--user) may have no home
ENV PATH=/opt/transferkit/bin:$PATH HOME=/cache USER=user TRANSFERKIT_CACHE=/cache/transferkit HF_HOME=/cache/huggingface
USER user
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["transferkit"]
CMD ["--help"]
