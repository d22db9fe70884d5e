# The base of every sandbox: Debian's C libraries, the Node binary and a few static files. Nothing else, so nothing
# that could be executed. The service makes rootfs.tar (src/sandbox/docker/image) and checks its modes and owners.
FROM scratch
ARG PREFIX
# First, so that the layers of an interrupted build can be found and removed too.
LABEL code-mode.image.prefix=${PREFIX}
ADD rootfs.tar /
ENV PATH=/usr/local/bin
WORKDIR /workspace
# Only a safe default: the service gives each execution a uid of its own.
USER 65534:65534
