# docker build -t sfgkeras .
# docker run --rm -v "$PWD:/work" sfgkeras train -c prostate.ini
#
# Processors by default. For NVIDIA's, with their container toolkit:
#   docker build -t sfgkeras:gpu --build-arg EXTRAS=all,gpu .        docker run --gpus all ...
FROM python:3.11-slim
ARG EXTRAS=all
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/sfgkeras
COPY . .
RUN pip install -c constraints.txt ".[${EXTRAS}]" && rm -rf /opt/sfgkeras
# Whoever starts it owns what it writes: docker run --user "$(id -u):$(id -g)" ...
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["sfgkeras"]
CMD ["--help"]
