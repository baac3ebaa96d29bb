import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  retainSearchParams,
} from '@tanstack/react-router';
import { heldKeys } from './api/keys.ts';
import { Crash, NotFound } from './shell/failures.tsx';
import { Shell } from './shell/shell.tsx';
import { SignIn } from './shell/sign-in.tsx';

/** Each is text, so that a link reads as it was made. `at`: the moment that every view shows. */
interface Search {
  readonly at?: string;
  readonly q?: string;
  readonly filter?: string;
  readonly version?: string;
  readonly org?: string;
  readonly tab?: string;
  readonly from?: string;
  readonly to?: string;
  readonly by?: string;
  readonly id?: string;
  readonly every?: string;
  readonly zone?: string;
  readonly stream?: string;
  readonly type?: string;
  readonly correlation?: string;
  readonly revision?: string;
  readonly section?: string;
  readonly why?: string;
}

const KNOWN =
  'at q filter version org tab from to by id every zone stream type correlation revision section why'.split(
    ' ',
  );

function validateSearch(search: Record<string, unknown>): Search {
  return Object.fromEntries(
    KNOWN.flatMap((name) => {
      const value = search[name];
      return typeof value === 'string' && value !== '' ? [[name, value]] : [];
    }),
  );
}

const root = createRootRoute({
  validateSearch,
  search: { middlewares: [retainSearchParams(['at'])] },
  notFoundComponent: NotFound,
  errorComponent: Crash,
});

const signIn = createRoute({ getParentRoute: () => root, path: '/sign-in', component: SignIn });

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  component: Shell,
  beforeLoad({ location }) {
    const { project, admin } = heldKeys();
    if (project !== undefined || admin !== undefined) return;
    // eslint-disable-next-line typescript/only-throw-error -- This is how the router redirects.
    throw redirect({ to: '/sign-in', search: (search) => ({ ...search, to: location.href }) });
  },
});

const home = createRoute({
  getParentRoute: () => shell,
  path: '/',
  beforeLoad() {
    const to = heldKeys().project === undefined ? '/operations' : '/fleet';
    // eslint-disable-next-line typescript/only-throw-error -- This is how the router redirects.
    throw redirect({ to, search: (search) => search });
  },
});

function view<Path extends string>(path: Path, component: ReturnType<typeof lazyRouteComponent>) {
  return createRoute({ getParentRoute: () => shell, path, component });
}

const views = [
  view(
    '/fleet',
    lazyRouteComponent(() => import('./views/fleet/fleet.tsx'), 'Fleet'),
  ),
  view(
    '/devices/$id',
    lazyRouteComponent(() => import('./views/device/device.tsx'), 'Device'),
  ),
  view(
    '/provisioning',
    lazyRouteComponent(() => import('./views/provisioning/provisioning.tsx'), 'Provisioning'),
  ),
  view(
    '/provisioning/$id',
    lazyRouteComponent(() => import('./views/provisioning/batch.tsx'), 'BatchView'),
  ),
  view(
    '/firmware',
    lazyRouteComponent(() => import('./views/firmware/firmware.tsx'), 'Firmware'),
  ),
  view(
    '/usage',
    lazyRouteComponent(() => import('./views/usage/usage.tsx'), 'Usage'),
  ),
  view(
    '/webhooks',
    lazyRouteComponent(() => import('./views/webhooks/webhooks.tsx'), 'Webhooks'),
  ),
  view(
    '/webhooks/$id',
    lazyRouteComponent(() => import('./views/webhooks/webhook.tsx'), 'WebhookView'),
  ),
  view(
    '/keys',
    lazyRouteComponent(() => import('./views/keys/keys.tsx'), 'Keys'),
  ),
  view(
    '/operations',
    lazyRouteComponent(() => import('./views/operations/projections.tsx'), 'Projections'),
  ),
  view(
    '/operations/rebuilds/$id',
    lazyRouteComponent(() => import('./views/operations/replays.tsx'), 'RebuildView'),
  ),
  view(
    '/operations/verifications/$id',
    lazyRouteComponent(() => import('./views/operations/replays.tsx'), 'VerificationView'),
  ),
  view(
    '/log',
    lazyRouteComponent(() => import('./views/operations/log.tsx'), 'Log'),
  ),
  view(
    '/projects',
    lazyRouteComponent(() => import('./views/operations/projects.tsx'), 'Projects'),
  ),
] as const;

export const router = createRouter({
  routeTree: root.addChildren([signIn, shell.addChildren([home, ...views])]),
  basepath: new URL(document.baseURI).pathname,
  // Values are text as they stand: the default would quote them as JSON.
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const entries = Object.entries(search).filter(([, value]) => value !== undefined);
    const text = new URLSearchParams(entries as [string, string][]).toString();
    return text === '' ? '' : `?${text}`;
  },
  defaultPreload: 'intent',
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
