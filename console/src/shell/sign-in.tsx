import { useNavigate, useRouter, useSearch } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { useKeys } from '../api/keys.ts';
import { signIn } from '../api/who.ts';
import icon from '../icon.svg';
import { Problem } from '../parts/states.tsx';
import { Snippet } from '../parts/text.tsx';

export function SignIn() {
  const navigate = useNavigate();
  const router = useRouter();
  const { isRevoked } = useKeys();
  const to = useSearch({ strict: false, select: (search) => search.to });
  return (
    <div className="sign-in">
      <main className="card stack">
        <span className="brand">
          <img src={icon} alt="" /> Fleetledger
        </span>
        <div>
          <h1>Enter a key</h1>
          <p className="soft">
            The key of a member opens a project: its fleet, its devices, its usage. The admin key
            opens the operations of the installation.
          </p>
        </div>
        {isRevoked === true && (
          <p className="notice warn" role="alert">
            The service refuses the key that you used: it was revoked. Enter another one.
          </p>
        )}
        <KeyForm
          onHeld={() => {
            if (to === undefined) void navigate({ to: '/', search: {} });
            else router.history.replace(router.options.basepath?.replace(/\/$/, '') + to);
          }}
        />
        <details>
          <summary>Where do I get a key?</summary>
          <div className="stack small">
            <p>An owner issues one under Keys. On the machine of the service, this issues one:</p>
            <Snippet text="npm run --silent fleetledger -- keys issue --project default --member owner" />
            <p>The admin key is printed by the first start. If it is lost:</p>
            <Snippet text="npm run --silent fleetledger -- keys issue --admin" />
          </div>
        </details>
      </main>
    </div>
  );
}

/** The key stays in this tab: it is gone when the tab is closed. */
export function KeyForm({ onHeld }: { onHeld: () => void }) {
  const [key, setKey] = useState('');
  const [error, setError] = useState<Error | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn(key);
      onHeld();
    } catch (failure) {
      setError(failure as Error);
    }
    setBusy(false);
  };
  return (
    <form className="stack" onSubmit={(event) => void submit(event)}>
      <label>
        Key
        <input
          type="password"
          name="key"
          autoComplete="off"
          spellCheck={false}
          placeholder="fl_mem_… or fl_adm_…"
          required
          value={key}
          onChange={(event) => setKey(event.target.value)}
        />
      </label>
      {error !== null && <Problem error={error} />}
      <div className="row">
        <button type="submit" className="button primary" disabled={isBusy}>
          Open the console
        </button>
        <span className="small soft">The key is forgotten when this tab is closed.</span>
      </div>
    </form>
  );
}
