# PostgreSQL, a broker and Caddy from Debian's packages, for hosts that reach no registry: `make image ARGS="--services debian"`.
# Each stage takes the place of the published image that compose.yaml names, with the same variables, folders and ports.
ARG BASE
FROM ${BASE} AS packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql redis-server caddy \
 && rm -rf /var/lib/apt/lists/* /etc/postgresql /var/lib/postgresql/*

FROM packages AS postgres
COPY database.sh /database.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["sh", "/database.sh"]

FROM packages AS broker
USER redis
EXPOSE 6379
CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--appendonly", "no"]

FROM packages AS caddy
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
EXPOSE 80 443
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
