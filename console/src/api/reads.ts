import {
  keepPreviousData,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
  type UseMutationResult,
  type UseQueryResult,
} from '@tanstack/react-query';
import { useMemo } from 'react';
import { useMoment } from '../time/moment.ts';
import { bodyOf } from './client.ts';
import type { Scope } from './keys.ts';
import { usePollInterval } from './live.ts';

export type QueryParts = readonly (string | number | boolean | undefined | null)[];

interface ReadOptions {
  readonly isEnabled?: boolean;
  /** Overrides how often a view of now asks again. */
  readonly everyMs?: number | false;
}

/** One answer of the service, read again while it may change. `parts` tell reads apart. */
export function useRead<Body>(
  scope: Scope,
  parts: QueryParts,
  read: (signal: AbortSignal) => Promise<{ data?: Body }>,
  { isEnabled = true, everyMs }: ReadOptions = {},
): UseQueryResult<Body> {
  const at = useMoment();
  const pollMs = usePollInterval();
  return useQuery({
    queryKey: [scope, ...parts, at],
    queryFn: ({ signal }) => bodyOf(read(signal)),
    enabled: isEnabled,
    placeholderData: keepPreviousData,
    refetchInterval: everyMs ?? (at === undefined || scope === 'admin' ? pollMs : false),
  });
}

interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

export interface Pages<Item> {
  readonly items: readonly Item[];
  readonly error: Error | null;
  readonly isLoading: boolean;
  readonly hasMore: boolean;
  readonly isLoadingMore: boolean;
  readonly loadMore: () => void;
}

const FIRST_PAGE: { cursor?: string } = {};

/** A list that is paged by cursor, page after page. */
export function usePages<Item>(
  scope: Scope,
  parts: QueryParts,
  read: (cursor: { cursor?: string }, signal: AbortSignal) => Promise<{ data?: Page<Item> }>,
  { isEnabled = true, everyMs }: ReadOptions = {},
): Pages<Item> {
  const at = useMoment();
  const pollMs = usePollInterval();
  const query = useInfiniteQuery({
    queryKey: [scope, ...parts, at],
    queryFn: ({ pageParam, signal }) => bodyOf(read(pageParam, signal)),
    initialPageParam: FIRST_PAGE,
    getNextPageParam: ({ next }: Page<Item>) => (next === null ? undefined : { cursor: next }),
    enabled: isEnabled,
    placeholderData: keepPreviousData,
    refetchInterval: everyMs ?? (at === undefined || scope === 'admin' ? pollMs : false),
  });
  const pages = query.data?.pages;
  const items = useMemo(() => pages?.flatMap((page) => page.items) ?? [], [pages]);
  return {
    items,
    error: query.error,
    isLoading: query.isPending,
    hasMore: query.hasNextPage,
    isLoadingMore: query.isFetchingNextPage,
    loadMore: () => void (query.isFetching || query.fetchNextPage()),
  };
}

/** Something that changes the ledger. What it may have changed is read again. */
export function useChange<Input = void, Body = unknown>(
  scope: Scope,
  change: (input: Input) => Promise<{ data?: Body }>,
): UseMutationResult<Body | undefined, Error, Input> {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async (input: Input) => (await change(input)).data,
    onSettled: () => queries.invalidateQueries({ queryKey: [scope] }),
  });
}
