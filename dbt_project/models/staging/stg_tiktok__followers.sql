{{ account_relations('followers') }}
