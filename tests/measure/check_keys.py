"""usage: check_keys.py FILE KEY...: the JSON object has these keys, and its numbers are positive."""
import json
import sys

result = json.load(open(sys.argv[1]))
missing = [key for key in sys.argv[2:] if key not in result]
MAY_BE_ZERO = {"spread", "hot_spread", "dram_spread", "prefill_spread", "decode_spread", "seed", "misses", "page_skip_rate",
               "kv_mib"}
wrong = [key for key, value in result.items()
         if isinstance(value, (int, float)) and not isinstance(value, bool)
         and not value > 0 and key not in MAY_BE_ZERO]
sys.exit(f"missing {missing}, not positive {wrong}" if missing or wrong or len(sys.argv) < 3 else 0)
