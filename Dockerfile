# Labelling only, without torch:
#   docker build -t gender_recognizer .
#   docker run --rm -v "$PWD/pictures:/pictures" gender_recognizer /pictures output_path=/pictures/
FROM python:3.11-slim
# Libraries report nothing to their makers.
ENV DO_NOT_TRACK=1 ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY constraints.txt ./
# The base installation of pyproject.toml, and HEIC; a layer of its own, so that changed code does not fetch it again.
RUN pip install --no-cache-dir -c constraints.txt \
    hydra-core numpy omegaconf onnxruntime pillow pillow-heif simplejpeg tqdm
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
RUN pip install --no-cache-dir --no-deps .
COPY scripts/process.py scripts/process.py
ENTRYPOINT ["python", "scripts/process.py"]
