# The service alone, for docker-compose.yml or an orchestrator: PostgreSQL is to be given by
# DATABASE_URL, as the embedded one is left out.

FROM node:24.18.0-bookworm-slim AS base
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

# What runs. The optional package is the embedded PostgreSQL of the platform; the script that is
# left out installs the console's packages, which only its build needs.
FROM base AS dependencies
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --omit=optional --no-audit --ignore-scripts

FROM base AS build
# What the console is built with is installed with the rest.
COPY console/package.json console/package-lock.json console/.npmrc console/build.mjs ./console/
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY console ./console
# What the compiler notes for its next run is of no use in the image.
RUN npm run build && rm dist/.tsbuildinfo

FROM node:24.18.0-bookworm-slim AS service
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=8080 \
    DATA_DIR=/var/lib/fleetledger
RUN install --directory --owner=node --group=node "$DATA_DIR"
WORKDIR /app
# From what changes least to what changes most; all of it belongs to root, and node can only read
# it.
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY migrations ./migrations
COPY --from=build /app/dist ./dist
USER node
EXPOSE 8080
# The image has no curl. Without --start-interval, which podman 4 refuses: docker-compose.yml sets
# it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--enable-source-maps", "/app/dist/cli.js"]
CMD ["serve"]
