{{ account_relations('following') }}
