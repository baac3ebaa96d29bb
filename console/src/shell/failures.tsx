import { Link, type ErrorComponentProps } from '@tanstack/react-router';
import { Empty, Problem } from '../parts/states.tsx';

export function NotFound() {
  return (
    <Empty title="There is no such view">
      <p>The address is mistyped, or the view has moved.</p>
      <Link to="/" className="button">
        Go to the start
      </Link>
    </Empty>
  );
}

export function Crash({ error, reset }: ErrorComponentProps) {
  return (
    <div className="stack">
      <Problem error={error instanceof Error ? error : new Error(String(error))} />
      <button type="button" className="button" onClick={reset}>
        Try again
      </button>
    </div>
  );
}
