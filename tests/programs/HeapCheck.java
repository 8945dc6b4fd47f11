// SPDX-License-Identifier: MIT
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Run by test_java.py: threads that build, change and digest maps, strings and arrays while much of it becomes garbage.
 * Prints a digest for every round and thread; they depend on the arguments only.
 *
 * Arguments: THREADS ROUNDS ITEMS
 */
public class HeapCheck {
	private static final ConcurrentHashMap<String, long[]> SHARED = new ConcurrentHashMap<>();

	private static long mix(long x) {
		x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
		x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
		return x ^ (x >>> 31);
	}

	/** A tree of strings and arrays that lives through all rounds; a part of it is replaced in each. */
	private static final class Store {
		final TreeMap<Integer, String> names = new TreeMap<>();
		final HashMap<String, int[]> bodies = new HashMap<>();

		void change(int round, int items, SplittableRandom random) {
			for (int i = 0; i < items; i++) {
				int key = random.nextInt(items);
				String old = names.remove(key);
				if (old != null)
					bodies.remove(old);
				String name = "name-" + key + "-" + round;
				int[] body = new int[16 + random.nextInt(240)];
				Arrays.setAll(body, n -> key * 31 + round + n);
				names.put(key, name);
				bodies.put(name, body);
			}
		}

		long digest() {
			long sum = 0;
			for (var entry : names.entrySet()) {
				int[] body = bodies.get(entry.getValue());
				sum = mix(sum + entry.getKey() + entry.getValue().hashCode());
				for (int word : body)
					sum = sum * 31 + word;
			}
			return sum;
		}
	}

	private static long work(int thread, int rounds, int items, List<String> lines) {
		Store store = new Store();
		long sum = 0;
		for (int round = 0; round < rounds; round++) {
			SplittableRandom random = new SplittableRandom(thread * 1000L + round);
			store.change(round, items, random);
			// Large arrays, some of which others read.
			long[] big = new long[(1 << 17) + random.nextInt(1 << 17)];
			for (int i = 0; i < big.length; i++)
				big[i] = mix(i + thread * 7L + round);
			SHARED.put(thread + "/" + round, big);
			long[] copy = SHARED.get(thread + "/" + round).clone();
			Arrays.parallelSort(copy);
			SHARED.remove(thread + "/" + (round - 2));
			sum = mix(sum + store.digest() + Arrays.hashCode(copy));
			synchronized (lines) {
				lines.add(String.format("thread %d round %02d: %016x", thread, round, sum));
			}
		}
		return sum;
	}

	public static void main(String[] args) throws Exception {
		int threads = Integer.parseInt(args[0]), rounds = Integer.parseInt(args[1]), items = Integer.parseInt(args[2]);
		List<String> lines = new ArrayList<>();
		ExecutorService pool = Executors.newFixedThreadPool(threads);
		List<Future<Long>> results = new ArrayList<>();
		for (int i = 0; i < threads; i++) {
			int thread = i;
			results.add(pool.submit(() -> work(thread, rounds, items, lines)));
		}
		long sum = 0;
		for (Future<Long> result : results)
			sum += result.get();
		pool.shutdown();
		lines.sort(null);
		lines.forEach(System.out::println);
		System.out.printf("all: %016x%n", sum);
	}
}
