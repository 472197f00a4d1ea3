# Labelling only, without torch:
#   docker build -t gender_recognizer .
#   docker run --rm -v "$PWD/pictures:/pictures" gender_recognizer /pictures output_path=/pictures/
FROM python:3.11-slim
# Libraries report nothing to their makers.
ENV DO_NOT_TRACK=1 ORT_DISABLE_TELEMETRY=1
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
# The cache keeps packages for the next build, so that changed code does not fetch them again.
RUN --mount=type=cache,target=/var/cache/pip pip install -c constraints.txt '.[heic]'
ENTRYPOINT ["gender-recognizer", "label"]
