# A hospital's program: `make agent ARGS=--image` fills this folder's copy with wheels and builds it without a network.
ARG BASE
FROM ${BASE} AS build
COPY wheels /wheels
COPY server.lock /server.lock
RUN python3 -m venv /opt/assay \
 && /opt/assay/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps --find-links /wheels --require-hashes -r /server.lock \
 && /opt/assay/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps /wheels/assay-*.whl \
 && /opt/assay/bin/pip check

FROM ${BASE}
COPY --from=build /opt/assay /opt/assay
ENV PATH=/opt/assay/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["assay", "site"]
CMD ["run", "--poll-seconds", "60"]
